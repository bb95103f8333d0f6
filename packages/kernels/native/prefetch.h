// Asking for memory before it is needed.
#pragma once

#include <cstdint>

namespace spikax {

// Asks for the line at this address, which need not exist.
inline void Prefetch(uintptr_t address) {
  __builtin_prefetch(reinterpret_cast<const void*>(address));
  // GCC takes a function that does nothing but prefetch for one without effect, and drops the calls of it.
  asm volatile("" : : "r"(address));
}

// Asks for the line of array[i], whether or not the array has so many elements.
template <typename Element>
void Prefetch(const Element* array, int64_t i) {
  Prefetch(reinterpret_cast<uintptr_t>(array) + sizeof(Element) * static_cast<uintptr_t>(i));
}

}  // namespace spikax
