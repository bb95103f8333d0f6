// What a header needs to be compiled for the CPU and, by NVRTC, which has no standard library, for a GPU.
#pragma once

#ifdef __CUDACC_RTC__
#define SPIKAX_BOTH __host__ __device__
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
#else
#include <cstdint>
#include <cstring>
#define SPIKAX_BOTH
#endif

namespace spikax {

template <bool kCondition, typename A, typename B>
struct Either {
  using type = A;
};
template <typename A, typename B>
struct Either<false, A, B> {
  using type = B;
};

template <typename A, typename B>
inline constexpr bool kSame = false;
template <typename A>
inline constexpr bool kSame<A, A> = true;

SPIKAX_BOTH inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
SPIKAX_BOTH inline int64_t Max(int64_t a, int64_t b) { return a < b ? b : a; }

}  // namespace spikax
