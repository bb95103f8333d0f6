// y[r] = sum of data[k] * x[c] over the entries k, in row r and column c. A group of threads, as many as suit the mean length of a row,
// adds up a row; long rows are cut into slices (blockIdx.y), whose sums are added up in order afterwards. So nothing depends on the
// order in which threads run.
#include "operands.cuh"

namespace spikax {

using T = WEIGHT;
using I = INDEX;
using X = EVENT;
using Sum = Wide<T>;

enum Operand { kData, kIndices, kIndptr, kX, kOperands };

constexpr int kBlock = 128;
constexpr int kAtOnce = 4;  // entries that a thread asks for before it needs the first

}  // namespace spikax

using namespace spikax;

// parts[lane, row, slice]; a group is a power of two of at most 32 threads.
extern "C" __global__ void __launch_bounds__(kBlock) gather(const T* __restrict__ data, const I* __restrict__ indices,
                                                            const void* __restrict__ indptr, const X* __restrict__ x,
                                                            Sum* __restrict__ parts, Shape shape, Lanes<kOperands> lanes, int64_t group) {
  const int threads = static_cast<int>(group), mine = threadIdx.x % threads;
  const int64_t row = GlobalThread() / threads;
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    const auto offsets = lanes.At(lane);
    const Compressed<I> matrix = shape.Matrix(indices + offsets.of[kIndices], indptr, offsets.of[kIndptr]);
    const T* const weights = data + offsets.of[kData];
    const X* const events = x + offsets.of[kX];
    Sum sum[kAtOnce] = {};
    if (row < shape.rows) {
      const int64_t begin = matrix.Begin(row);
      const Part part(matrix.End(row) - begin, blockIdx.y, gridDim.y);
      for (int64_t e = part.first + mine; e < part.last; e += threads * kAtOnce) {
        I column[kAtOnce];
        X event[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) column[i] = e + i * threads < part.last ? matrix.indices[begin + e + i * threads] : I(-1);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) event[i] = matrix.Inside(column[i]) ? events[column[i]] : X();
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (matrix.Inside(column[i]) && IsActive(event[i]))
            sum[i] += Sum(weights[(begin + e + i * threads) * shape.weights]) * Value<Sum>(event[i]);
        }
      }
    }
    Sum all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int half = threads / 2; half > 0; half /= 2) all += __shfl_xor_sync(kAllLanes, all, half);
    if (row < shape.rows && mine == 0) parts[(lane * shape.rows + row) * gridDim.y + blockIdx.y] = all;
  }
}

// y[i] = sum of parts[i, slice] in the order of slices.
extern "C" __global__ void __launch_bounds__(256) add_up(const Sum* __restrict__ parts, T* __restrict__ y, int64_t size, int64_t slices) {
  for (int64_t i = GlobalThread(); i < size; i += Threads()) {
    Sum sum = 0;
    for (int64_t slice = 0; slice < slices; ++slice) sum += parts[i * slices + slice];
    y[i] = T(sum);
  }
}
