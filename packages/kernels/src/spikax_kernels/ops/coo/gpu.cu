// y[c] = sum of data[k] * x[r] over the entries k, in row r and column c, in any order: each thread has some of the entries.
#include "finish.cuh"

namespace spikax {

using T = WEIGHT;
using I = INDEX;
using X = EVENT;
using Sum = Wide<T>;

enum Operand { kData, kRow, kCol, kX, kOperands };

constexpr int kBlock = 128;
constexpr int kResident = 6;  // blocks of a multiprocessor: for more, the compiler would spill registers
constexpr int kAtOnce = 4;    // entries that a thread asks for before it needs the first

struct Coordinates {
  int64_t rows, cols, entries;
  int64_t weights;  // 0: one for all entries, 1: one for each
};

__device__ inline bool Inside(I index, int64_t size) {
  return static_cast<uint64_t>(static_cast<int64_t>(index)) < static_cast<uint64_t>(size);
}

template <typename Sums>
__device__ void Deliver(const T* data, const I* row, const I* col, const X* x, const Coordinates& shape, const Lanes<kOperands>& lanes,
                        unsigned lane, Sums& sums) {
  const auto offsets = lanes.At(lane);
  data += offsets.of[kData], row += offsets.of[kRow], col += offsets.of[kCol], x += offsets.of[kX];
  for (int64_t k = GlobalThread(); k < shape.entries; k += Threads() * kAtOnce) {
    I from[kAtOnce];
    X event[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) from[i] = k + i * Threads() < shape.entries ? row[k + i * Threads()] : I(-1);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) event[i] = Inside(from[i], shape.rows) ? x[from[i]] : X();
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!Inside(from[i], shape.rows) || !IsActive(event[i])) continue;
      const int64_t at = k + i * Threads();
      const I to = col[at];
      if (Inside(to, shape.cols)) sums.Add(static_cast<int64_t>(to), Sum(data[at * shape.weights]) * Value<Sum>(event[i]));
    }
  }
}

}  // namespace spikax

using namespace spikax;

#ifndef EXACT

extern "C" __global__ void __launch_bounds__(kBlock, kResident)
    coo(const T* __restrict__ data, const I* __restrict__ row, const I* __restrict__ col, const X* __restrict__ x, Sum* y,
        Coordinates shape, Lanes<kOperands> lanes) {
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    FloatSums<Sum> sums{y + static_cast<int64_t>(lane) * shape.cols};
    Deliver(data, row, col, x, shape, lanes, lane, sums);
  }
}

#else

extern "C" __global__ void __launch_bounds__(kBlock, kResident)
    largest(const T* __restrict__ data, const I* __restrict__ row, const I* __restrict__ col, const X* __restrict__ x,
            unsigned long long* largest, Coordinates shape, Lanes<kOperands> lanes) {
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    Magnitudes sums{largest + lane};
    Deliver(data, row, col, x, shape, lanes, lane, sums);
    sums.Finish();
  }
}

extern "C" __global__ void __launch_bounds__(kBlock, kResident)
    coo_exact(const T* __restrict__ data, const I* __restrict__ row, const I* __restrict__ col, const X* __restrict__ x,
              unsigned long long* sums, unsigned* special, const unsigned long long* largest, Coordinates shape, Lanes<kOperands> lanes,
              int64_t addend_bits) {
  constexpr bool kTwo = sizeof(T) == 8;
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    ExactSums<kTwo> exact = ExactOf<kTwo>(sums, special, largest, lane, shape.cols, addend_bits);
    Deliver(data, row, col, x, shape, lanes, lane, exact);
  }
}

#endif
