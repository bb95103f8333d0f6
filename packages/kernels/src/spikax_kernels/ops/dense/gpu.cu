// Products with a dense matrix that read only what an event multiplies. No thread adds to another's sum, so nothing depends on the order
// in which threads run.
#include "operands.cuh"

namespace spikax {

using T = WEIGHT;
using X = EVENT;
using Sum = Wide<T>;

enum Operand { kWeights, kX, kOperands };

constexpr int kBlock = 128;
constexpr int kResident = 8;  // blocks of a multiprocessor: for more, the compiler would spill registers
constexpr int kAtOnce = 4;    // rows that a thread asks for before it needs the first

}  // namespace spikax

using namespace spikax;

// x @ weights: a thread has a column, for the rows of a slice (blockIdx.y). parts[lane, slice, column].
extern "C" __global__ void __launch_bounds__(kBlock, kResident)
    columns(const T* __restrict__ weights, const X* __restrict__ x, Sum* __restrict__ parts, int64_t rows, int64_t cols,
            Lanes<kOperands> lanes) {
  const int64_t column = GlobalThread();
  const Part part(rows, blockIdx.y, gridDim.y);
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    const auto offsets = lanes.At(lane);
    const T* const first = weights + offsets.of[kWeights] + Min(column, cols - 1);
    const X* const events = x + offsets.of[kX];
    Sum sum = 0;
    for (int64_t base = part.first; base < part.last; base += kWarp) {
      const int64_t row = base + threadIdx.x % kWarp;
      const X mine = row < part.last ? events[row] : X();
      const Sum event = Value<Sum>(mine);
      // The active rows among 32, which all threads of a warp go through together.
      unsigned active = __ballot_sync(kAllLanes, row < part.last && IsActive(mine));
      while (active != 0) {
        T weight[kAtOnce];
        Sum value[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const int at = active == 0 ? -1 : __ffs(active) - 1;
          active &= active - 1;
          weight[i] = at < 0 ? T() : first[(base + at) * cols];
          const Sum all = __shfl_sync(kAllLanes, event, at < 0 ? 0 : at);
          value[i] = at < 0 ? Sum(0) : sizeof(X) == 1 ? Sum(1) : all;
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) sum += Sum(weight[i]) * value[i];
      }
    }
    if (column < cols) parts[(lane * static_cast<int64_t>(gridDim.y) + blockIdx.y) * cols + column] = sum;
  }
}

// weights @ x: a warp has a row, for the columns of a slice (blockIdx.y). parts[lane, slice, row].
extern "C" __global__ void __launch_bounds__(kBlock, kResident)
    rows(const T* __restrict__ weights, const X* __restrict__ x, Sum* __restrict__ parts, int64_t rows, int64_t cols,
         Lanes<kOperands> lanes) {
  const int64_t row = GlobalThread() / kWarp;
  const Part part(cols, blockIdx.y, gridDim.y);
  if (row >= rows) return;
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    const auto offsets = lanes.At(lane);
    const T* const mine = weights + offsets.of[kWeights] + row * cols;
    const X* const events = x + offsets.of[kX];
    Sum sum[kAtOnce] = {};
    for (int64_t base = part.first + threadIdx.x % kWarp; base < part.last; base += kWarp * kAtOnce) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int64_t c = base + i * kWarp;
        if (c < part.last && IsActive(events[c])) sum[i] += Sum(mine[c]) * Value<Sum>(events[c]);
      }
    }
    Sum all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int half = kWarp / 2; half > 0; half /= 2) all += __shfl_xor_sync(kAllLanes, all, half);
    if (threadIdx.x % kWarp == 0) parts[(lane * static_cast<int64_t>(gridDim.y) + blockIdx.y) * rows + row] = all;
  }
}

// y[lane, i] = sum of parts[lane, slice, i] in the order of slices.
extern "C" __global__ void __launch_bounds__(256)
    add_up(const Sum* __restrict__ parts, T* __restrict__ y, int64_t lanes, int64_t size, int64_t slices) {
  for (int64_t i = GlobalThread(); i < lanes * size; i += Threads()) {
    Sum sum = 0;
    for (int64_t slice = 0; slice < slices; ++slice) sum += parts[(i / size * slices + slice) * size + i % size];
    y[i] = T(sum);
  }
}
