// The last pass over sums that were added up elsewhere than in the result.
#pragma once

#include "sums.cuh"

namespace spikax {

// What exact sums of one lane are made of; Python gives the bits, see ops/_cuda.py.
template <bool kTwo>
__device__ inline ExactSums<kTwo> ExactOf(unsigned long long* sums, unsigned* special, const unsigned long long* largest, int64_t lane,
                                          int64_t size, int64_t addend_bits) {
  return {sums + lane * size * (kTwo ? 2 : 1), special + lane * size, StepExponent(largest[lane], static_cast<int>(addend_bits)),
          62 - static_cast<int>(addend_bits)};
}

}  // namespace spikax

// Kernels that come with every source that adds up: WEIGHT is the type of the result.
#if !defined(EXACT) && !defined(TOGETHER)

extern "C" __global__ void __launch_bounds__(256) finish(const spikax::Wide<WEIGHT>* sums, WEIGHT* y, int64_t size) {
  for (int64_t i = spikax::GlobalThread(); i < size; i += spikax::Threads()) y[i] = WEIGHT(sums[i]);
}

#elif defined(EXACT)

extern "C" __global__ void __launch_bounds__(256) finish_exact(unsigned long long* sums, unsigned* special, const unsigned long long* largest,
                                                               WEIGHT* y, int64_t lanes, int64_t size, int64_t addend_bits) {
  constexpr bool kTwo = sizeof(WEIGHT) == 8;
  for (int64_t i = spikax::GlobalThread(); i < lanes * size; i += spikax::Threads()) {
    const auto exact = spikax::ExactOf<kTwo>(sums, special, largest, i / size, size, addend_bits);
    y[i] = WEIGHT(spikax::Wide<WEIGHT>(exact.Total(i % size)));
  }
}

#endif
