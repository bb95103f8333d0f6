// Finding which of a list of columns lie in a range, without a branch for each: which do is a matter of chance.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spikax {

// The most columns that are looked at in one call.
inline constexpr int64_t kMostSelected = 256;

#if defined(__x86_64__)
// As below, for size / 16 * 16 columns.
__attribute__((target("avx512f"))) inline int64_t SelectForAvx512(const int32_t* columns, int64_t size, uint32_t first, uint32_t length,
                                                                  int32_t* selected, int32_t* places) {
  const __m512i firsts = _mm512_set1_epi32(static_cast<int>(first)), lengths = _mm512_set1_epi32(static_cast<int>(length));
  __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int64_t count = 0;
  for (int64_t i = 0; i + 16 <= size; i += 16) {
    const __m512i here = _mm512_loadu_si512(columns + i);
    const __mmask16 inside = _mm512_cmplt_epu32_mask(_mm512_sub_epi32(here, firsts), lengths);
    _mm512_storeu_si512(selected + count, _mm512_maskz_compress_epi32(inside, here));
    _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(inside, at));
    count += __builtin_popcount(inside);
    at = _mm512_add_epi32(at, _mm512_set1_epi32(16));
  }
  return count;
}
#endif

// Writes those of columns[0] to columns[size - 1] that are in `range` to `selected`, and where they were to `places`; both have room for
// kMostSelected. Returns how many they are.
template <typename I>
int64_t Select(const I* columns, int64_t size, Range range, I* selected, int32_t* places) {
  using Bits = std::make_unsigned_t<I>;
  constexpr int64_t kEnd = sizeof(I) == 4 ? int64_t{1} << 31 : std::numeric_limits<int64_t>::max();  // of all that I can tell
  const int64_t begin = std::min(range.begin, kEnd);
  const Bits first = static_cast<Bits>(begin), length = static_cast<Bits>(std::min(range.end, kEnd) - begin);
  int64_t i = 0, count = 0;
#if defined(__x86_64__)
  static const bool avx512 = __builtin_cpu_supports("avx512f");
  if constexpr (sizeof(I) == 4) {
    if (avx512) {
      count = SelectForAvx512(columns, size, first, length, selected, places);
      i = size / 16 * 16;
    }
  }
#endif
  for (; i < size; ++i) {
    selected[count] = columns[i];
    places[count] = static_cast<int32_t>(i);
    count += static_cast<Bits>(columns[i]) - first < length;
  }
  return count;
}

}  // namespace spikax
