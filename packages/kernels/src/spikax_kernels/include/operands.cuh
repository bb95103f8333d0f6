// The operands of an operator on the GPU, as Python describes them: numbers of 64 bits each, so that both sides agree on the layout.
#pragma once

#include "compressed.h"
#include "event.h"

namespace spikax {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;  // of a warp

// Batch axes that broadcast against each other: the result has lengths[i], an operand a stride of 0 where it has one element.
template <int kOperands>
struct Lanes {
  static constexpr int kAxes = 4;

  int64_t count;  // less than 2^31
  int64_t lengths[kAxes];
  int64_t strides[kOperands][kAxes];

  // Where the elements of each operand for a lane begin.
  struct Offsets {
    int64_t of[kOperands];
  };
  __device__ Offsets At(unsigned lane) const {
    Offsets offsets{};
#pragma unroll
    for (int i = kAxes - 1; i >= 0; --i) {
      const unsigned length = static_cast<unsigned>(lengths[i]);
      if (length == 1) continue;
      const unsigned at = lane % length;
      lane /= length;
#pragma unroll
      for (int operand = 0; operand < kOperands; ++operand) offsets.of[operand] += at * strides[operand][i];
    }
    return offsets;
  }
};

// What is the same for all lanes of a compressed matrix.
struct Shape {
  int64_t rows, cols, entries;
  int64_t weights;     // 0: one for all entries, 1: one for each
  int64_t wide;        // whether indptr holds int64_t
  int64_t rectangular; // whether there is no indptr, as all rows are of one length

  template <typename I>
  __device__ Compressed<I> Matrix(const I* indices, const void* indptr, int64_t pointers) const {
    if (rectangular) return {nullptr, false, indices, rows, cols, entries, entries / Max(rows, 1)};
    const void* const begin = wide ? static_cast<const void*>(static_cast<const int64_t*>(indptr) + pointers)
                                   : static_cast<const void*>(static_cast<const int32_t*>(indptr) + pointers);
    return {begin, wide != 0, indices, rows, cols, entries, 0};
  }
};

// The part [first, last) of [0, size) that task number `task` of `tasks` has.
struct Part {
  int64_t first, last;
  __device__ Part(int64_t size, int64_t task, int64_t tasks) : first(0), last(size) {
    if (tasks == 1) return;  // a division of 64 bits takes a hundred instructions
    const int64_t each = (size + tasks - 1) / tasks;
    first = Min(each * task, size);
    last = Min(first + each, size);
  }
};

__device__ inline int64_t GlobalThread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t Threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

}  // namespace spikax
