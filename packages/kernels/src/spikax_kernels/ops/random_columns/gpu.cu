// Columns at random for each row, the same as on the CPU: of the row's stream of uniform draws, the first distinct ones, in order.
//
// A block has a row at a time. It marks draws in a bitmap in shared memory, as many at once as are still missing, which can never be too
// many: so what it has marked in the end are the first distinct numbers of the stream, whichever thread marked them.
#include "operands.cuh"
#include "philox.h"

namespace spikax {

constexpr int kBlock = 256;
constexpr int kWarps = kBlock / kWarp;

// The sum of `value` over the threads before this one, and over all.
__device__ inline int64_t Before(int64_t value, int64_t* all) {
  __shared__ int64_t warps[kWarps];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int64_t sum = value;
#pragma unroll
  for (int ahead = 1; ahead < kWarp; ahead *= 2) {
    const int64_t other = __shfl_up_sync(kAllLanes, sum, ahead);
    if (lane >= ahead) sum += other;
  }
  __syncthreads();  // nobody reads the sums of the last call any more
  if (lane == kWarp - 1) warps[warp] = sum;
  __syncthreads();
  int64_t before = sum - value, total = 0;
  for (int i = 0; i < kWarps; ++i) {
    if (i < warp) before += warps[i];
    total += warps[i];
  }
  *all = total;
  return before;
}

struct Draw {
  PhiloxKey key;
  int64_t cols;
  bool loops;

  // Without loops, the pool of a row is all columns but its own.
  __device__ uint32_t Pool() const { return static_cast<uint32_t>(Max(cols - (loops ? 0 : 1), 0)); }
  __device__ int Column(uint32_t number, int64_t row) const { return static_cast<int>(number + (!loops && number >= row)); }

  // Of the words that the stream has from `word` on, calls take(number) for the next `wanted` fair ones; how many words that took.
  template <typename Take>
  __device__ int64_t Next(uint32_t row, int64_t word, int64_t wanted, Take&& take) const {
    const uint32_t pool = Pool(), unfair = -pool % pool;
    int64_t taken = 0;
    while (wanted > 0) {
      // Each thread has the four words of one counter; of the first, some may have been taken already.
      const uint32_t block = static_cast<uint32_t>(word / 4 + threadIdx.x);
      uint32_t words[4] = {block, row, 0, 0};
      Philox(key, words);
      uint32_t numbers[4];
      bool fair[4];
      int mine = 0;
      for (int i = 0; i < 4; ++i) {
        const uint64_t product = static_cast<uint64_t>(words[i]) * pool;
        numbers[i] = static_cast<uint32_t>(product >> 32);
        fair[i] = static_cast<uint32_t>(product) >= unfair && (threadIdx.x > 0 || i >= word % 4);
        mine += fair[i];
      }
      int64_t all;
      int64_t rank = Before(mine, &all);
      __shared__ int64_t last;
      if (threadIdx.x == 0) last = 4 * kBlock;
      __syncthreads();
      for (int i = 0; i < 4; ++i) {
        if (!fair[i]) continue;
        if (rank < wanted) take(taken + rank, numbers[i]);
        if (rank == wanted - 1) last = 4 * threadIdx.x + i + 1;  // the words up to here are used up
        ++rank;
      }
      __syncthreads();
      word += last - word % 4;
      const int64_t got = Min(all, wanted);
      taken += got;
      wanted -= got;
      __syncthreads();  // `last` is set anew only when all have read it
    }
    return word;
  }

  // Marks `count` distinct numbers of the stream in a bitmap of zeros.
  __device__ void Mark(uint32_t row, int64_t count, uint32_t* bits) const {
    int64_t word = 0;
    for (int64_t left = count; left > 0;) {
      int fresh = 0;
      word = Next(row, word, left, [&](int64_t, uint32_t number) {
        const uint32_t bit = 1u << number % 32;
        fresh += (atomicOr(bits + number / 32, bit) & bit) == 0;
      });
      int64_t all;
      Before(fresh, &all);
      left -= all;
    }
    __syncthreads();
  }

  __device__ void Row(int64_t row, int* out, int64_t room, uint32_t* bits) const {
    const int64_t pool = Pool(), count = Min(room, pool), words = (pool + 31) / 32;
    for (int64_t i = threadIdx.x; i < words; i += kBlock) bits[i] = 0;
    __syncthreads();
    // A row that takes more than half of the columns draws those that it leaves out.
    const bool inverted = count > pool / 2;
    if (pool > 0) Mark(static_cast<uint32_t>(row), inverted ? pool - count : count, bits);
    int64_t done = 0;
    for (int64_t base = 0; base < words; base += kBlock) {
      const int64_t i = base + threadIdx.x;
      uint32_t word = i < words ? (inverted ? ~bits[i] : bits[i]) : 0;
      if (i == words - 1 && pool % 32 != 0) word &= (1u << pool % 32) - 1;
      int64_t all;
      int64_t at = done + Before(__popc(word), &all);
      for (; word != 0; word &= word - 1) out[at++] = Column(static_cast<uint32_t>(32 * i + __ffs(word) - 1), row);
      done += all;
    }
    // A row that has fewer columns than it should hold: the rest is out of range.
    for (int64_t i = count + threadIdx.x; i < room; i += kBlock) out[i] = static_cast<int>(cols);
    __syncthreads();
  }
};

}  // namespace spikax

using namespace spikax;

// begins[rows + 1] is where each row begins among the columns; null if all have equally many.
extern "C" __global__ void __launch_bounds__(kBlock) random_columns(const uint32_t* __restrict__ key, const int* __restrict__ begins,
                                                                    int* __restrict__ columns, int64_t rows, int64_t entries,
                                                                    int64_t cols, int64_t loops, int64_t equal) {
  extern __shared__ uint32_t bits[];
  const Draw draw{{key[0], key[1]}, cols, loops != 0};
  const auto begin = [&](int64_t row) { return equal ? entries / Max(rows, 1) * row : Min(Max(begins[row], 0), entries); };
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t first = begin(row);
    draw.Row(row, columns + first, Max(begin(row + 1) - first, 0), bits);
  }
  // After the last row.
  for (int64_t i = begin(rows) + GlobalThread(); rows > 0 && i < entries; i += Threads()) columns[i] = static_cast<int>(cols);
}
