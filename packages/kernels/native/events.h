// Finding the events of a vector fast: it is silent almost everywhere.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "event.h"

namespace spikax {

// Whether all active events are alike: what they deliver depends on the entry alone.
template <typename X>
inline constexpr bool kAlike = sizeof(X) == 1;

// Whether any of x[0] to x[63] is active. Of a number, all bits but the sign's count.
template <typename X>
inline bool AnyOf64(const X* x) {
  using Bits = std::conditional_t<sizeof(X) == 8 || sizeof(X) == 1, uint64_t, std::conditional_t<sizeof(X) == 4, uint32_t, uint16_t>>;
  Bits any = 0;
  for (size_t i = 0; i < 64 * sizeof(X) / sizeof(Bits); ++i) {
    Bits bits;
    std::memcpy(&bits, reinterpret_cast<const unsigned char*>(x) + i * sizeof(Bits), sizeof(Bits));
    any |= sizeof(X) == 1 ? bits : static_cast<Bits>(bits << 1);
  }
  return any != 0;
}

// The 64 events x[0] to x[63] as bits, the first one lowest.
template <typename X>
inline uint64_t Pack64(const X* x) {
  uint8_t bytes[64];
  for (int i = 0; i < 64; ++i) bytes[i] = IsActive(x[i]);
  uint64_t word = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t eight = 0;
    for (int j = 0; j < 8; ++j) eight |= uint64_t{bytes[8 * i + j]} << 8 * j;
    // The multiplication brings bit 0 of byte j to bit 56 + j.
    word |= (eight * 0x0102040810204080u) >> 56 << 8 * i;
  }
  return word;
}

inline int64_t LowestBit(uint64_t word) { return __builtin_ctzll(word); }

// Calls visit(i) for each active x[i], in order.
template <typename X, typename Visit>
inline void ForEachActive(const X* x, int64_t n, Visit&& visit) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    if (!AnyOf64(x + i)) continue;
    for (uint64_t word = Pack64(x + i); word != 0; word &= word - 1) visit(i + LowestBit(word));
  }
  for (; i < n; ++i) {
    if (IsActive(x[i])) visit(i);
  }
}

// The same for the set bits of a vector of events that is packed.
template <typename Visit>
inline void ForEachBit(const uint64_t* bits, int64_t words, Visit&& visit) {
  for (int64_t i = 0; i < words; ++i) {
    for (uint64_t word = bits[i]; word != 0; word &= word - 1) visit(64 * i + LowestBit(word));
  }
}

inline int64_t Words(int64_t events) { return (events + 63) / 64; }

template <typename X>
void PackEvents(const X* x, int64_t n, uint64_t* bits) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) *bits++ = AnyOf64(x + i) ? Pack64(x + i) : 0;
  if (i == n) return;
  *bits = 0;
  for (int64_t j = i; j < n; ++j) *bits |= uint64_t{IsActive(x[j])} << (j - i);
}

}  // namespace spikax
