// Sums that many threads add to. In floating point the order of additions, and with it the last bits, changes from run to run. In whole
// numbers it does not matter, so there they are the same bits each time.
#pragma once

#include "operands.cuh"

namespace spikax {

// Added up as they come, by reductions of which nobody waits for the result.
template <typename Sum>
struct FloatSums {
  Sum* sums;

  __device__ void Add(int64_t i, Sum value) { atomicAdd(sums + i, value); }
  __device__ void Finish() {}
};

// What a lane of exact sums needs to know of all that it will add up.
//
// A value is a whole number of steps, 2^step, where no sum of `addends` values of the largest magnitude overflows 63 bits. For float,
// one such number is 2^(62 - bits of addends) times finer than the largest value, so more exact than a float. What is left of a double
// goes into a second number that is as much finer again.
//
// Infinities and NaN are kept apart, as they have no whole number.
struct Special {
  static constexpr unsigned kInfinity = 1, kMinusInfinity = 2, kNaN = 4;
};

__device__ inline int Exponent(double magnitude) { return static_cast<int>((__double_as_longlong(magnitude) >> 52) & 0x7ff) - 1023; }

// 2^exponent, which may be outside of what a double holds before it is multiplied: so in two factors.
__device__ inline double Scale(double value, int exponent) {
  const int half = exponent / 2, rest = exponent - half;
  return value * __longlong_as_double(static_cast<int64_t>(half + 1023) << 52) * __longlong_as_double(static_cast<int64_t>(rest + 1023) << 52);
}

__device__ inline int StepExponent(unsigned long long magnitude, int addend_bits) {
  return Exponent(__longlong_as_double(magnitude)) + 1 + addend_bits - 62;
}

// First pass: the largest finite magnitude that is added, as the bits of a double, whose order is that of the numbers.
struct Magnitudes {
  unsigned long long* largest;
  unsigned long long mine = 0;

  __device__ void Add(int64_t, double value) {
    const unsigned long long bits = __double_as_longlong(fabs(value));
    if (bits < 0x7ff0000000000000ull && bits > mine) mine = bits;
  }
  __device__ void Finish() {
    if (mine != 0) atomicMax(largest, mine);
  }
};

// Second pass.
template <bool kTwo>
struct ExactSums {
  unsigned long long* sums;  // one number for each sum, or two
  unsigned* special;
  int step;
  int finer;  // bits of the second number

  __device__ void Add(int64_t i, double value) {
    if (!isfinite(value)) {
      atomicOr(special + i, isnan(value) ? Special::kNaN : value > 0 ? Special::kInfinity : Special::kMinusInfinity);
      return;
    }
    const long long whole = __double2ll_rn(Scale(value, -step));
    if constexpr (!kTwo) {
      if (whole != 0) atomicAdd(sums + i, static_cast<unsigned long long>(whole));
    } else {
      if (whole != 0) atomicAdd(sums + 2 * i, static_cast<unsigned long long>(whole));
      const long long rest = __double2ll_rn(Scale(value - Scale(static_cast<double>(whole), step), finer - step));
      if (rest != 0) atomicAdd(sums + 2 * i + 1, static_cast<unsigned long long>(rest));
    }
  }
  __device__ void Finish() {}

  // What has been added up.
  __device__ double Total(int64_t i) const {
    const unsigned of = special[i];
    if (of & Special::kNaN || (of & Special::kInfinity && of & Special::kMinusInfinity)) return nan("");
    if (of != 0) return of & Special::kInfinity ? __longlong_as_double(0x7ff0000000000000ll) : __longlong_as_double(0xfff0000000000000ull);
    if constexpr (!kTwo) return Scale(static_cast<double>(static_cast<long long>(sums[i])), step);
    const double coarse = Scale(static_cast<double>(static_cast<long long>(sums[2 * i])), step);
    return coarse + Scale(static_cast<double>(static_cast<long long>(sums[2 * i + 1])), step - finer);
  }
};

}  // namespace spikax
