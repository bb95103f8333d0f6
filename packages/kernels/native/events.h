// What counts as an event, and finding the events of a vector fast: it is silent almost everywhere.
#pragma once

#include <cstdint>
#include <cstring>

namespace spikax {

// A byte holds a binary event, a number a valued one. NaN and negative numbers are active.
template <typename X>
inline bool IsActive(X x) {
  return x != X(0);
}

// What an active event multiplies a weight by: a binary one by 1, which leaves any weight as it is.
template <typename T>
inline T Value(uint8_t) {
  return T(1);
}
template <typename T>
inline T Value(T x) {
  return x;
}

// Calls visit(i) for each active x[i], in order.
template <typename X, typename Visit>
inline void ForEachActive(const X* x, int64_t n, Visit&& visit) {
  int64_t i = 0;
  if constexpr (sizeof(X) == 1) {
    for (; i + 8 <= n; i += 8) {
      uint64_t eight;
      std::memcpy(&eight, x + i, 8);
      if (eight == 0) continue;
      for (int64_t j = i; j < i + 8; ++j) {
        if (x[j]) visit(j);
      }
    }
  }
  for (; i < n; ++i) {
    if (IsActive(x[i])) visit(i);
  }
}

}  // namespace spikax
