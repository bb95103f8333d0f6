// Private accumulators for tasks that add into the same result, which are then added up in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "half.h"
#include "parallel.h"

namespace spikax {

// For how many tasks `work` entries that add up in `size` places pay. It depends on the amount of work alone, so the order of sums does,
// too. Each accumulator is cleared and added up once, which must stay small beside the entries that it takes; two of them pay soonest.
inline int64_t Chunks(int64_t work, int64_t size) {
  const int64_t tasks = EvenChunks(work / std::max<int64_t>(2 * kInlineWork, 4 * size));
  return tasks == 1 && work >= std::max<int64_t>(4 * kInlineWork, 2 * size) ? 2 : tasks;
}

// One accumulator for each chunk, for a result of `size` places.
template <typename T>
class Accumulators {
 public:
  Accumulators(T* result, int64_t size, int64_t chunks)
      : result_(result), size_(size), chunks_(chunks), others_(new Wide<T>[(chunks - InPlace()) * (kApart + size)]) {}

  // Whether the first accumulator is the result itself: if it is the only one, there is nothing to add up.
  static constexpr bool InPlace() { return std::is_same_v<T, Wide<T>>; }

  // The accumulator of a chunk.
  Wide<T>* At(int64_t chunk) const {
    if constexpr (InPlace()) {
      if (chunk == 0) return result_;
    }
    return others_.get() + (chunk - InPlace()) * (kApart + size_) + kApart;
  }

  // The same, all zeros.
  Wide<T>* Begin(int64_t chunk) const {
    Wide<T>* const sum = At(chunk);
    std::fill_n(sum, size_, Wide<T>(0));
    return sum;
  }

  // Adds up these places of all accumulators, once every chunk has ended.
  void Finish(Range mine) const {
    Wide<T>* const sum = At(0);
    for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
      const Wide<T>* const other = At(chunk);
      for (int64_t i = mine.begin; i < mine.end; ++i) sum[i] += other[i];
    }
    if constexpr (!InPlace()) {
      for (int64_t i = mine.begin; i < mine.end; ++i) result_[i] = T(sum[i]);
    }
  }

 private:
  // No page has places of two accumulators: a CPU fetches what lies near a place that it writes to, and so takes it from the thread that
  // writes there. Measured, 4000 places on two threads: 0.47 -> 0.30 ns an entry.
  static constexpr int64_t kApart = 4096 / static_cast<int64_t>(sizeof(Wide<T>));

  T* const result_;
  const int64_t size_, chunks_;
  const std::unique_ptr<Wide<T>[]> others_;
};

}  // namespace spikax
