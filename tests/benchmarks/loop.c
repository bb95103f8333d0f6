// The product of spikes with a matrix compressed by rows as anyone would write it: the ceiling that the others are held against.
#include <stdint.h>
#include <string.h>

// `calls` products of one lane each, of the events x[call][rows], one after the other. One weight for all if `shared`.
void products(int64_t calls, int64_t rows, int64_t cols, const uint8_t *x, const int32_t *indptr, const int32_t *indices, const float *data,
              int shared, float *y) {
  for (int64_t call = 0; call < calls; ++call, x += rows) {
    memset(y, 0, cols * sizeof *y);
    for (int64_t i = 0; i < rows; ++i) {
      if (!x[i]) continue;
      const int64_t end = indptr[i + 1];
      if (shared) {
        for (int64_t k = indptr[i]; k < end; ++k) y[indices[k]] += data[0];
      } else {
        for (int64_t k = indptr[i]; k < end; ++k) y[indices[k]] += data[k];
      }
    }
  }
}
