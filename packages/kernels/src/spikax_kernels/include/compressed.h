// The arrays of one compressed sparse matrix, read so that no value in them can lead outside a buffer.
#pragma once

#include "target.h"

namespace spikax {

// Rows of entries: entry k of row i, for k in [indptr[i], indptr[i + 1]), is in column indices[k]. I is int32_t or int64_t.
template <typename I>
struct Compressed {
  const void* indptr;  // null: all rows are of one length, so hold entries / rows entries each
  bool wide;           // whether indptr holds int64_t; asked once a row, so not worth a template parameter
  const I* indices;
  int64_t rows, cols, entries;
  int64_t length;  // of each row, where indptr is null

  // The entries of row i. Pointers out of range are clamped, and pointers that decrease make an empty row.
  SPIKAX_BOTH int64_t Begin(int64_t i) const { return Pointer(i); }
  SPIKAX_BOTH int64_t End(int64_t i) const { return Max(Pointer(i), Pointer(i + 1)); }

  // Whether a column exists; one unsigned comparison that drops negative ones, too.
  SPIKAX_BOTH bool Inside(I column) const { return static_cast<uint64_t>(static_cast<int64_t>(column)) < static_cast<uint64_t>(cols); }

  // The last row that begins at or before entry k, by bisection. With pointers that decrease it is some row.
  SPIKAX_BOTH int64_t RowOf(int64_t k) const {
    int64_t low = 0, high = rows;
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (Pointer(middle) <= k ? low : high) = middle;
    }
    return low;
  }

 private:
  SPIKAX_BOTH int64_t Pointer(int64_t i) const {
    if (indptr == nullptr) return i * length;
    const int64_t pointer = wide ? static_cast<const int64_t*>(indptr)[i] : static_cast<const int32_t*>(indptr)[i];
    return Min(Max(pointer, 0), entries);
  }
};

}  // namespace spikax
