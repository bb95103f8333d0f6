// What counts as an event, and what it delivers.
#pragma once

#include "half.h"

namespace spikax {

// Whether a number is active as an event. NaN and negative numbers are; a byte holds a binary event.
template <typename X>
SPIKAX_BOTH inline bool IsActive(X x) {
  if constexpr (sizeof(X) == 2) {
    return x.IsNonzero();
  } else {
    return x != X(0);
  }
}

// What an active event multiplies a weight by: a binary one by 1, which leaves any weight as it is.
template <typename T, typename X>
SPIKAX_BOTH inline T Value(X x) {
  return sizeof(X) == 1 ? T(1) : T(x);
}

}  // namespace spikax
