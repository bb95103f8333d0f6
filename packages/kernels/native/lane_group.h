// Lanes side by side: when lanes share a matrix, each of its entries is read once for as many lanes as a cache line holds numbers, and
// serves all of them in one vector instruction or few.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "buffers.h"
#include "events.h"

namespace spikax {

// How many lanes go together.
template <typename T>
inline constexpr int64_t kGroup = 64 / static_cast<int64_t>(sizeof(Wide<T>));

// Fewer lanes than this are not worth it.
inline constexpr int64_t kLeastLanes = 4;

// Whether `lanes` differ in x alone, whose vectors then go together.
inline bool ShareMatrix(const Lanes& lanes, const Operand& data, const Operand& indices, const Operand& indptr, const Operand& x) {
  return lanes.count() >= kLeastLanes && lanes.CountIn(data) == 1 && lanes.CountIn(indices) == 1 && lanes.CountIn(indptr) == 1 &&
         lanes.CountIn(x) == lanes.count();
}

// One number of each lane: a cache line, in as many registers as this CPU needs for it. Of GCC and Clang, which split and join vectors as
// they like.
template <typename W>
struct LaneVector {
  typedef W Numbers __attribute__((vector_size(64)));
  using Bits = std::conditional_t<sizeof(W) == 8, int64_t, int32_t>;
  typedef Bits Mask __attribute__((vector_size(64)));

  Numbers numbers;

  // Adds what events contribute: an inactive one is 0 and adds nothing, whatever the weight.
  __attribute__((always_inline)) void Add(W weight, const LaneVector& events) {
    const Numbers product = events.numbers * weight;
    const Mask active = events.numbers != Numbers{};
    numbers += (Numbers)((Mask)product & active);
  }
};

#if defined(__x86_64__)
template <typename Body>
__attribute__((target("avx2"))) void RunForAvx2(const Body& body) {
  body();
}
template <typename Body>
__attribute__((target("avx512f,avx512dq,avx512vl"))) void RunForAvx512(const Body& body) {
  body();
}
#endif

// Runs a body, which must be always_inline, as compiled for the vectors of this CPU; the library itself is for any of its kind. Every
// version computes the same bits, as none may fuse a multiplication with an addition.
template <typename Body>
inline void ForThisCpu(const Body& body) {
#if defined(__x86_64__)
  static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx512) return RunForAvx512(body);
  if (avx2) return RunForAvx2(body);
#endif
  body();
}

}  // namespace spikax
