// Visiting the active rows of a matrix. They lie anywhere in memory, so each is asked for some time before it is needed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "compressed.h"
#include "events.h"
#include "parallel.h"
#include "prefetch.h"

namespace spikax {

template <typename I>
void PrefetchPointer(const Compressed<I>& matrix, int64_t row) {
  if (matrix.indptr != nullptr) Prefetch(static_cast<const char*>(matrix.indptr), row * (matrix.wide ? 8 : 4));
}

// Entries of a row.
struct Part {
  int64_t row, begin, end;
};

// Rows that are visited batch by batch. The visitor gets each of them three times: Ahead(part), which asks for its entries; then
// Near(part), which asks for what these lead to; then Visit(part). With kMerge, rows that follow each other in memory may come as one part.
template <bool kMerge, typename I, typename Visitor>
class RowQueue {
 public:
  // Of all entries of the rows, visits those with the numbers [mine.begin, mine.end). The first row begins with the number `before`.
  RowQueue(const Compressed<I>& matrix, int64_t before, Range mine, Visitor& visitor)
      : matrix_(matrix), before_(before), mine_(mine), visitor_(visitor) {}

  void Push(int64_t row) {
    PrefetchPointer(matrix_, row);
    rows_[count_++] = row;
    if (count_ == kBatch) Flush();
  }

  // To be called after the last row.
  void Flush() {
    const int64_t parts = Load();
    for (int64_t at = 0; at < std::min(parts, kAhead); ++at) visitor_.Ahead(parts_[at]);
    for (int64_t at = 0; at < parts; ++at) {
      if (at + kAhead < parts) visitor_.Ahead(parts_[at + kAhead]);
      if (at + kNear < parts) visitor_.Near(parts_[at + kNear]);
      visitor_.Visit(parts_[at]);
    }
  }

 private:
  static constexpr int64_t kBatch = 256, kAhead = 8, kNear = 4;

  // Makes parts of the rows that wait, and says how many.
  int64_t Load() {
    int64_t parts = 0;
    for (int64_t at = 0; at < count_; ++at) {
      const int64_t first = matrix_.Begin(rows_[at]), size = matrix_.End(rows_[at]) - first;
      const int64_t begin = first + std::clamp<int64_t>(mine_.begin - before_, 0, size);
      const int64_t end = first + std::clamp<int64_t>(mine_.end - before_, 0, size);
      before_ += size;
      if (kMerge && parts > 0 && parts_[parts - 1].end == begin) {
        parts_[parts - 1].end = end;
      } else {
        parts_[parts++] = {rows_[at], begin, end};
      }
    }
    count_ = 0;
    return parts;
  }

  const Compressed<I> matrix_;
  int64_t before_;
  const Range mine_;
  Visitor& visitor_;
  int64_t count_ = 0, rows_[kBatch];
  Part parts_[kBatch];
};

// The active rows of a vector, and how many entries they have.
template <typename X, typename I>
class ActiveRows {
 public:
  ActiveRows(const Compressed<I>& matrix, const X* x)
      : matrix_(matrix), x_(x), blocks_((matrix.rows + kBlock - 1) / kBlock), before_(new int64_t[blocks_ + 1]) {
    int64_t events = 0, rows[kBlock];
    for (int64_t block = 0; block < blocks_; ++block) {
      before_[block] = events;
      int64_t count = 0;
      ForEachOf(block, [&](int64_t row) {
        PrefetchPointer(matrix, row);
        rows[count++] = row;
      });
      for (int64_t at = 0; at < count; ++at) events += matrix.End(rows[at]) - matrix.Begin(rows[at]);
    }
    before_[blocks_] = events;
  }

  int64_t events() const { return before_[blocks_]; }

  // Visits the entries with the numbers [mine.begin, mine.end).
  template <typename Visitor>
  void Visit(Range mine, Visitor& visitor) const {
    int64_t block = std::upper_bound(before_.get(), before_.get() + blocks_ + 1, mine.begin) - before_.get() - 1;
    if (block == blocks_) return;
    RowQueue<kAlike<X>, I, Visitor> rows(matrix_, before_[block], mine, visitor);
    for (; block < blocks_ && before_[block] < mine.end; ++block) ForEachOf(block, [&](int64_t row) { rows.Push(row); });
    rows.Flush();
  }

 private:
  static constexpr int64_t kBlock = 1024;  // rows that are counted together

  template <typename Visit>
  void ForEachOf(int64_t block, Visit&& visit) const {
    const int64_t first = block * kBlock;
    ForEachActive(x_ + first, std::min(kBlock, matrix_.rows - first), [&](int64_t i) { visit(first + i); });
  }

  const Compressed<I> matrix_;
  const X* const x_;
  const int64_t blocks_;
  const std::unique_ptr<int64_t[]> before_;
};

}  // namespace spikax
