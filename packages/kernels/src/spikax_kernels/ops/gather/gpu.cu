// y[r] = sum of data[k] * x[c] over the entries k, in row r and column c. A group of threads, as many as suit the mean length of a row,
// adds up a row; long rows are cut into slices (blockIdx.y), whose sums are added up in order afterwards. So nothing depends on the
// order in which threads run.
#include "operands.cuh"

namespace spikax {

using T = WEIGHT;
using I = INDEX;
using X = EVENT;
using Sum = Wide<T>;

enum Operand { kData, kIndices, kIndptr, kX, kBits, kOperands };

constexpr int kBlock = 128;
constexpr int kAtOnce = 4;  // entries that a thread asks for before it needs the first

#ifdef PACKED
// Whether events are active is read from bits: more of them are in the caches that are near.
__device__ inline bool IsActiveAt(const X*, const uint32_t* bits, int64_t column) { return bits[column / 32] >> column % 32 & 1; }
#else
__device__ inline bool IsActiveAt(const X* events, const uint32_t*, int64_t column) { return IsActive(events[column]); }
#endif

}  // namespace spikax

using namespace spikax;

// parts[lane, row, slice]; a group is 2^group of at most 32 threads. bits[lane, words] is read if PACKED.
extern "C" __global__ void __launch_bounds__(kBlock) gather(const T* __restrict__ data, const I* __restrict__ indices,
                                                            const void* __restrict__ indptr, const X* __restrict__ x,
                                                            const uint32_t* __restrict__ bits, Sum* __restrict__ parts, Shape shape,
                                                            Lanes<kOperands> lanes, int64_t group) {
  const int threads = 1 << group, mine = threadIdx.x & (threads - 1);
  const int64_t row = GlobalThread() >> group;
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    const auto offsets = lanes.At(lane);
    const Compressed<I> matrix = shape.Matrix(indices + offsets.of[kIndices], indptr, offsets.of[kIndptr]);
    const T* const weights = data + offsets.of[kData];
    const X* const events = x + offsets.of[kX];
    const uint32_t* const packed = bits + offsets.of[kBits];
    Sum sum[kAtOnce] = {};
    if (row < shape.rows) {
      const int64_t begin = matrix.Begin(row);
      const Part part(matrix.End(row) - begin, blockIdx.y, gridDim.y);
      for (int64_t e = part.first + mine; e < part.last; e += threads * kAtOnce) {
        I column[kAtOnce];
        bool active[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) column[i] = e + i * threads < part.last ? matrix.indices[begin + e + i * threads] : I(-1);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) active[i] = matrix.Inside(column[i]) && IsActiveAt(events, packed, column[i]);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (active[i])
            sum[i] += Sum(weights[(begin + e + i * threads) * shape.weights]) * (sizeof(X) == 1 ? Sum(1) : Value<Sum>(events[column[i]]));
        }
      }
    }
    Sum all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int half = threads / 2; half > 0; half /= 2) all += __shfl_xor_sync(kAllLanes, all, half);
    if (row < shape.rows && mine == 0) parts[(lane * shape.rows + row) * gridDim.y + blockIdx.y] = all;
  }
}

// The events of all vectors as bits, the first one lowest; each vector begins a new word.
extern "C" __global__ void __launch_bounds__(256) pack(const X* __restrict__ x, uint32_t* __restrict__ bits, int64_t vectors, int64_t size) {
  const int64_t words = (size + 31) / 32;
  // All threads of a warp take as many turns, as they vote together.
  for (int64_t word = GlobalThread() / kWarp; word < vectors * words; word += Threads() / kWarp) {
    const int64_t at = word % words * 32 + threadIdx.x % kWarp;
    const unsigned active = __ballot_sync(kAllLanes, at < size && IsActive(x[word / words * size + at]));
    if (threadIdx.x % kWarp == 0) bits[word] = active;
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
