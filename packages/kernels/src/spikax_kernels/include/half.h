// Half precision: numbers of 16 bits in memory, which are computed with as float.
//
// Converted with integers and normal floats only, so results are the same on every machine, whether or not it flushes subnormals.
#pragma once

#include "target.h"

namespace spikax {

template <typename To, typename From>
SPIKAX_BOTH inline To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// IEEE 754 binary16: 5 bits of exponent, 10 of significand.
class Half {
 public:
  Half() = default;
  SPIKAX_BOTH explicit Half(float value) {
    const uint32_t all = BitCast<uint32_t>(value), sign = all & 0x80000000u, u = all ^ sign;
    // Subnormal: adding a number whose last bit is worth 2^-24 rounds there.
    constexpr uint32_t kSmall = 126u << 23;
    const uint32_t small = BitCast<uint32_t>(BitCast<float>(u) + BitCast<float>(kSmall)) - kSmall;
    // Normal: the exponent's bias changes by 112, and the 13 bits that go round to even. A carry leads to the next exponent.
    const uint32_t normal = (u - (112u << 23) + 0xfffu + ((u >> 13) & 1)) >> 13;
    const uint32_t large = u > 0x7f800000u ? 0x7e00u : 0x7c00u;  // NaN or infinity
    bits_ = static_cast<uint16_t>((u >= 143u << 23 ? large : u < 113u << 23 ? small : normal) | sign >> 16);
  }
  SPIKAX_BOTH explicit operator float() const {
    const uint32_t shifted = (bits_ & 0x7fffu) << 13, exponent = shifted & 0x0f800000u, normal = shifted + (112u << 23);
    const float small = BitCast<float>(normal + (1u << 23)) - BitCast<float>(113u << 23);
    const uint32_t u = exponent == 0 ? BitCast<uint32_t>(small) : exponent == 0x0f800000u ? normal + (112u << 23) : normal;
    return BitCast<float>(u | (bits_ & 0x8000u) << 16);
  }
  // Also for NaN, but for neither zero.
  SPIKAX_BOTH bool IsNonzero() const { return (bits_ & 0x7fffu) != 0; }

 private:
  uint16_t bits_;
};

// The upper half of a float.
class BFloat16 {
 public:
  BFloat16() = default;
  SPIKAX_BOTH explicit BFloat16(float value) {
    const uint32_t u = BitCast<uint32_t>(value);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits_ = static_cast<uint16_t>(nan ? u >> 16 | 0x40u : (u + 0x7fffu + (u >> 16 & 1)) >> 16);
  }
  SPIKAX_BOTH explicit operator float() const { return BitCast<float>(uint32_t{bits_} << 16); }
  SPIKAX_BOTH bool IsNonzero() const { return (bits_ & 0x7fffu) != 0; }

 private:
  uint16_t bits_;
};

// What weights of type T are multiplied and added up in.
template <typename T>
using Wide = typename Either<kSame<T, double>, double, float>::type;

}  // namespace spikax
