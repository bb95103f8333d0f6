// z[k] = y[r] * x[c] for the entry k, in row r and column c, summed over the lanes that the result does not have. A group of threads, as
// many as suit the mean length of a row, has the entries of a row, or of a slice of it (blockIdx.y).
#include "operands.cuh"

namespace spikax {

using T = WEIGHT;
using I = INDEX;
using Y = ROW_EVENT;
using X = EVENT;
using Sum = Wide<T>;

enum Operand { kZ, kY, kX, kIndices, kIndptr, kOperands };

constexpr int kBlock = 128;

}  // namespace spikax

using namespace spikax;

// A row has 2^group threads. `kept` are the lanes of the result, `summed` those that it is summed over, here from `first` to before `last`: a pair of them is a
// lane of the operands. An entry has to be in the same row in all lanes of one launch, so that one thread adds to it, in order.
extern "C" __global__ void __launch_bounds__(kBlock) sddmm(const Y* __restrict__ y, const X* __restrict__ x, const I* __restrict__ indices,
                                                           const void* __restrict__ indptr, Sum* z, Shape shape, Lanes<kOperands> kept,
                                                           Lanes<kOperands> summed, int64_t first, int64_t last, int64_t group) {
  const int threads = 1 << group;
  const int64_t row = GlobalThread() >> group;
  if (row >= shape.rows) return;
  for (unsigned lane = blockIdx.z; lane < kept.count; lane += gridDim.z) {
    const auto base = kept.At(lane);
    for (unsigned other = first; other < last; ++other) {
      const auto more = summed.At(other);
      const Y left = y[base.of[kY] + more.of[kY] + row];
      if (!IsActive(left)) continue;
      const Sum value = Value<Sum>(left);
      const Compressed<I> matrix =
          shape.Matrix(indices + base.of[kIndices] + more.of[kIndices], indptr, base.of[kIndptr] + more.of[kIndptr]);
      const X* const events = x + base.of[kX] + more.of[kX];
      Sum* const result = z + base.of[kZ];
      const int64_t begin = matrix.Begin(row);
      const Part part(matrix.End(row) - begin, blockIdx.y, gridDim.y);
      for (int64_t k = begin + part.first + (threadIdx.x & (threads - 1)); k < begin + part.last; k += threads) {
        const I column = matrix.indices[k];
        if (!matrix.Inside(column) || !IsActive(events[column])) continue;
        // Rows that overlap, as they do in no matrix, then still add up.
        atomicAdd(result + k, value * Value<Sum>(events[column]));
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(256) finish(const Sum* __restrict__ sums, T* __restrict__ z, int64_t size) {
  for (int64_t i = GlobalThread(); i < size; i += Threads()) z[i] = T(sums[i]);
}
