// Deliveries sorted into tiles of the result before they are added up, for a result that is larger than a core's cache.
//
// Adding at random places of such a result waits for memory at every event. Writing each event behind the last one of its tile does
// not, and then every tile is added up while it lies in the cache. Within a tile events keep their order, so that sums are those of the
// plain loop, to the bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace spikax {

// The columns [0, cols) in at most kMost tiles of 2^shift columns: so few that the ends of all of their lists lie in the first cache.
struct Tiles {
  static constexpr int64_t kMost = 64;
  static constexpr int kLeastShift = 16;

  explicit Tiles(int64_t columns) : cols(columns) {
    while ((columns - 1) >> shift >= kMost) ++shift;
  }

  int64_t count() const { return ((cols - 1) >> shift) + 1; }
  int64_t Begin(int64_t tile) const { return tile << shift; }
  int64_t End(int64_t tile) const { return std::min(cols, (tile + 1) << shift); }

  int64_t cols;
  int shift = kLeastShift;
};

// A list of deliveries for each tile. Lists grow by blocks out of one buffer, so that none has to be counted before. If kShared, all
// deliveries have the same value, which is not stored.
template <typename T, typename I, bool kShared>
class Bins {
 public:
  // Room for `most` deliveries.
  Bins(const Tiles& tiles, int64_t most) : shift_(tiles.shift) {
    const int64_t blocks = most / kBlock + tiles.count() + 1;
    columns_.reset(new I[blocks * kBlock]);
    if constexpr (!kShared) values_.reset(new T[blocks * kBlock]);
    following_.reset(new int64_t[blocks]);
  }

  // Empties all lists.
  void Clear() {
    used_ = 1;
    std::fill_n(lists_, Tiles::kMost, List{});
  }

  void Add(I column, T value) {
    List& list = lists_[column >> shift_];
    if ((list.end & (kBlock - 1)) == 0) Grow(list);
    columns_[list.end] = column;
    if constexpr (!kShared) values_[list.end] = value;
    ++list.end;
  }

  // Adds the deliveries of a tile into `sum`; each is `shared` if all are equal.
  void AddUp(int64_t tile, T shared, T* sum) const {
    const List& list = lists_[tile];
    if (list.end == 0) return;
    for (int64_t block = list.first;; block = following_[block]) {
      const int64_t begin = block * kBlock, end = block == list.last ? list.end : begin + kBlock;
      for (int64_t i = begin; i < end; ++i) sum[columns_[i]] += kShared ? shared : values_[i];
      if (block == list.last) return;
    }
  }

 private:
  static constexpr int64_t kBlock = 512;  // deliveries

  struct List {
    int64_t end = 0;  // the place of the next delivery; the last block is full if it is the first of another one
    int64_t first = 0, last = 0;
  };

  void Grow(List& list) {
    const int64_t block = used_++;
    (list.end == 0 ? list.first : following_[list.last]) = block;
    list.last = block;
    list.end = block * kBlock;
  }

  const int shift_;
  int64_t used_ = 1;  // block 0 stays unused, so that `end` is 0 for an empty list alone
  List lists_[Tiles::kMost];
  std::unique_ptr<I[]> columns_;
  std::unique_ptr<T[]> values_;
  std::unique_ptr<int64_t[]> following_;
};

}  // namespace spikax
