// y[c] = sum of data[k] * x[r] over the entries k, in row r and column c, of rows whose event is active.
//
// A warp looks at 32 rows at once. Their entries, if they are active, are laid end to end and dealt to its threads one after the other,
// so that all have work whatever the lengths of rows; long rows are cut into slices, each for a warp of its own (blockIdx.y).
#include "finish.cuh"

namespace spikax {

using T = WEIGHT;
using I = INDEX;
using X = EVENT;
using Sum = Wide<T>;

enum Operand { kData, kIndices, kIndptr, kX, kOperands };

constexpr int kBlock = 128;
constexpr int kResident = 8;  // blocks of a multiprocessor: for more, the compiler would spill registers
// Entries that a thread asks for before it needs the first, as memory takes long to answer.
constexpr int kAtOnce = 4;
// What a warp has in one go is counted in 32 bits.
constexpr int64_t kMost = 1 << 30;

// The rows that a warp has, one in each of its threads, without those that are silent.
struct Rows {
  int64_t begin, total;
  int64_t ends;  // entries of this and all rows before

  __device__ Rows(const Compressed<I>& matrix, int64_t row, bool active) {
    begin = active ? matrix.Begin(row) : 0;
    const int64_t length = active ? matrix.End(row) - begin : 0;
    ends = length;
#pragma unroll
    for (int ahead = 1; ahead < kWarp; ahead *= 2) {
      const int64_t before = __shfl_up_sync(kAllLanes, ends, ahead);
      if (threadIdx.x % kWarp >= ahead) ends += before;
    }
    total = __shfl_sync(kAllLanes, ends, kWarp - 1);
    begin -= ends - length;  // so that the e-th of all entries is begin + e
  }
};

// Calls visit(row of the warp, entry, whether it is one) for the warp's slice of the entries; all threads of the warp have to call it.
template <typename Visit>
__device__ void ForEachEntry(const Rows& rows, Visit&& visit) {
  const Part mine(rows.total, blockIdx.y, gridDim.y);
  for (int64_t first = mine.first; first < mine.last; first += kMost) {
    const int count = static_cast<int>(Min(mine.last - first, kMost));
    const int ends = static_cast<int>(Min(Max(rows.ends - first, 0), kMost));
    for (int base = 0; base < count; base += kWarp * kAtOnce) {
      int of[kAtOnce];
      int64_t entry[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int e = base + i * kWarp + threadIdx.x % kWarp;
        // The first row that ends behind e.
        int row = 0;
#pragma unroll
        for (int half = kWarp / 2; half > 0; half /= 2) {
          if (__shfl_sync(kAllLanes, ends, row + half - 1) <= e) row += half;
        }
        of[i] = row;
        entry[i] = __shfl_sync(kAllLanes, rows.begin, row) + first + e;
      }
      visit(of, entry, base + static_cast<int>(threadIdx.x % kWarp), count);
    }
  }
}

template <typename Sums>
__device__ void Scatter(const T* data, const I* indices, const void* indptr, const X* x, const Shape& shape, const Lanes<kOperands>& lanes,
                        unsigned lane, Sums& sums) {
  const auto offsets = lanes.At(lane);
  const Compressed<I> matrix = shape.Matrix(indices + offsets.of[kIndices], indptr, offsets.of[kIndptr]);
  const int64_t row = GlobalThread();
  x += offsets.of[kX];
  data += offsets.of[kData];
  const X mine = row < shape.rows ? x[row] : X();
  const bool active = row < shape.rows && IsActive(mine);
  if (!__any_sync(kAllLanes, active)) return;
  const Rows rows(matrix, row, active);
  const Sum event = Value<Sum>(mine);
  ForEachEntry(rows, [&](const int (&of)[kAtOnce], const int64_t (&entry)[kAtOnce], int e, int count) {
    I column[kAtOnce];
    Sum value[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const bool real = e + i * kWarp < count;
      column[i] = real ? matrix.indices[entry[i]] : I(-1);
      const T weight = real ? data[entry[i] * shape.weights] : T();
      value[i] = Sum(weight) * (sizeof(X) == 1 ? Sum(1) : __shfl_sync(kAllLanes, event, of[i]));
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (matrix.Inside(column[i])) sums.Add(static_cast<int64_t>(column[i]), value[i]);
    }
  });
}

}  // namespace spikax

using namespace spikax;

// One variant is compiled at a time.
#if !defined(EXACT) && !defined(TOGETHER)

extern "C" __global__ void __launch_bounds__(kBlock)
    scatter(const T* __restrict__ data, const I* __restrict__ indices, const void* __restrict__ indptr, const X* __restrict__ x, Sum* y,
            Shape shape, Lanes<kOperands> lanes) {
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    FloatSums<Sum> sums{y + static_cast<int64_t>(lane) * shape.cols};
    Scatter(data, indices, indptr, x, shape, lanes, lane, sums);
  }
}

#elif defined(TOGETHER)

constexpr int kTogether = 4;  // lanes whose sums are added to at once

// Lanes of one matrix, kTogether of them at a time (blockIdx.z): what they get from an entry is one reduction of 16 bytes, for as much
// as a reduction of 4 bytes costs. sums[lanes / kTogether, cols, kTogether].
extern "C" __global__ void __launch_bounds__(kBlock, kResident)
    scatter_together(const T* __restrict__ data, const I* __restrict__ indices, const void* __restrict__ indptr, const X* __restrict__ x,
                     float* sums, Shape shape, Lanes<kOperands> lanes) {
  const Compressed<I> matrix = shape.Matrix(indices, indptr, 0);
  const int64_t row = GlobalThread();
  for (unsigned group = blockIdx.z; group * kTogether < lanes.count; group += gridDim.z) {
    float* const to = sums + group * shape.cols * kTogether;
    unsigned active = 0;  // a bit for each lane
    float event[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const unsigned lane = group * kTogether + j;
      const X mine = lane < lanes.count && row < shape.rows ? x[lanes.At(lane).of[kX] + row] : X();
      active |= static_cast<unsigned>(IsActive(mine)) << j;
      event[j] = Value<float>(mine);
    }
    if (!__any_sync(kAllLanes, active != 0)) continue;
    const Rows rows(matrix, row, active != 0);
    ForEachEntry(rows, [&](const int (&of)[kAtOnce], const int64_t (&entry)[kAtOnce], int e, int count) {
      I column[kAtOnce];
      float weight[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const bool real = e + i * kWarp < count;
        column[i] = real ? matrix.indices[entry[i]] : I(-1);
        weight[i] = real ? float(data[entry[i] * shape.weights]) : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const unsigned bits = __shfl_sync(kAllLanes, active, of[i]);
        float value[kTogether];
#pragma unroll
        for (int j = 0; j < kTogether; ++j) {
          const float by = sizeof(X) == 1 ? 1.0f : __shfl_sync(kAllLanes, event[j], of[i]);
          value[j] = bits >> j & 1 ? weight[i] * by : 0.0f;
        }
        if (!matrix.Inside(column[i])) continue;
        asm volatile("red.global.v4.f32.add [%0], {%1, %2, %3, %4};" ::"l"(to + static_cast<int64_t>(column[i]) * kTogether), "f"(value[0]),
                     "f"(value[1]), "f"(value[2]), "f"(value[3])
                     : "memory");
      }
    });
  }
}

extern "C" __global__ void __launch_bounds__(256)
    finish_together(const float* __restrict__ sums, T* __restrict__ y, int64_t lanes, int64_t cols) {
  for (int64_t i = GlobalThread(); i < lanes * cols; i += Threads()) {
    const int64_t lane = i / cols, column = i % cols;
    y[i] = T(sums[(lane / kTogether * cols + column) * kTogether + lane % kTogether]);
  }
}

#else

extern "C" __global__ void __launch_bounds__(kBlock)
    largest(const T* __restrict__ data, const I* __restrict__ indices, const void* __restrict__ indptr, const X* __restrict__ x,
            unsigned long long* largest, Shape shape, Lanes<kOperands> lanes) {
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    Magnitudes sums{largest + lane};
    Scatter(data, indices, indptr, x, shape, lanes, lane, sums);
    sums.Finish();
  }
}

extern "C" __global__ void __launch_bounds__(kBlock)
    scatter_exact(const T* __restrict__ data, const I* __restrict__ indices, const void* __restrict__ indptr, const X* __restrict__ x,
                  unsigned long long* sums, unsigned* special, const unsigned long long* largest, Shape shape, Lanes<kOperands> lanes,
                  int64_t addend_bits) {
  constexpr bool kTwo = sizeof(T) == 8;
  for (unsigned lane = blockIdx.z; lane < lanes.count; lane += gridDim.z) {
    ExactSums<kTwo> exact = ExactOf<kTwo>(sums, special, largest, lane, shape.cols, addend_bits);
    Scatter(data, indices, indptr, x, shape, lanes, lane, exact);
  }
}

#endif
