// z[k] = y[r] * x[c] for the entry k, in row r and column c: the outer product of two vectors, where the matrix has entries.
#include <cstring>

#include "accumulators.h"
#include "buffers.h"
#include "compressed.h"
#include "dtypes.h"
#include "events.h"
#include "lookup.h"
#include "parallel.h"

namespace spikax {
namespace {

// The entries of one task.
constexpr int64_t kEntries = 16384;

// One pair of vectors.
template <typename T, typename I, typename Y, typename Events>
struct Sddmm {
  Compressed<I> matrix;
  const Y* y;
  Events x;
  Wide<T>* z;

  // Adds to the entries in `mine` and to no other, so tasks never meet, whatever indptr holds.
  void Add(Range mine) const {
    for (int64_t i = matrix.RowOf(mine.begin); i < matrix.rows && matrix.Begin(i) < mine.end; ++i) {
      if (!IsActive(y[i])) continue;
      const Wide<T> row = Value<Wide<T>>(y[i]);
      const int64_t end = std::min(matrix.End(i), mine.end);
      int64_t k = std::max(matrix.Begin(i), mine.begin);
      const Numbers<Wide<T>> rows = {row, row, row, row};
      for (; k + 4 <= end; k += 4) {
        Numbers<Wide<T>> four;
        std::memcpy(&four, z + k, sizeof(four));
        x.AddTimes(four, rows, matrix.indices + k);
        std::memcpy(z + k, &four, sizeof(four));
      }
      for (; k < end; ++k) z[k] += x.Times(row, matrix.indices[k]);
    }
  }
};

ffi::Error SddmmCpu(ffi::ThreadPool pool, ffi::AnyBuffer y_buffer, ffi::AnyBuffer x_buffer, ffi::AnyBuffer indices_buffer,
                    ffi::AnyBuffer indptr_buffer, ffi::Result<ffi::AnyBuffer> z_buffer) {
  const Operand y(y_buffer), x(x_buffer), indices(indices_buffer), indptr(indptr_buffer), z(*z_buffer);
  Lanes lanes;
  if (ffi::Error error = lanes.Init({&z, &y, &x, &indices, &indptr}); error.failure()) return error;
  if (ffi::Error error = CheckMatrix(indices, indptr, y.size()); error.failure()) return error;
  if (z.size() != indices.size()) return ffi::Error::InvalidArgument("the result must have one value for each entry of indices");

  const int64_t count = lanes.count(), entries = z.size(), results = lanes.CountIn(z);
  const bool summed = results != count;  // over the batch axes that the result lacks
  return Dispatch(z.dtype(), indices.dtype(), x.dtype(), [&](auto weight, auto index, auto column_event) {
    using T = typename decltype(weight)::type;
    using I = typename decltype(index)::type;
    using X = typename decltype(column_event)::type;
    return VisitEvents<T>(z.dtype(), y.dtype(), [&](auto row_event) {
      using Y = typename decltype(row_event)::type;
      const Accumulators<T> sums(z.At<T>(0), results * entries, 1);
      // A task is a block of entries, of one lane or, where lanes are summed, of all of them in order.
      const int64_t blocks = (entries + kEntries - 1) / kEntries, all = summed ? blocks : count * blocks;
      const int64_t tasks = count * entries < kInlineWork ? std::min<int64_t>(all, 1) : all;
      WithEvents<Wide<T>, X>(pool, lanes, x, entries, [&](const auto& events) {
        const auto add = [&](int64_t lane, Range mine) {
          const Compressed<I> matrix = MatrixAt<I>(lanes, indices, indptr, y.size(), x.size(), lane);
          const Y* const rows = y.At<Y>(lanes.Offset(y, lane));
          Wide<T>* const to = sums.At(0) + lanes.Offset(z, lane);
          Sddmm<T, I, Y, std::decay_t<decltype(events(0))>>{matrix, rows, events(lane), to}.Add(mine);
        };
        ParallelFor(pool, tasks, [&](int64_t task) {
          const Range tasks_blocks = Slice(all, task, tasks);
          for (int64_t i = tasks_blocks.begin; i < tasks_blocks.end; ++i) {
            const int64_t first = i % blocks * kEntries;
            const Range mine{first, std::min(first + kEntries, entries)};
            // The lanes, and the results that they are added up in.
            const Range of = summed ? Range{0, count} : Range{i / blocks, i / blocks + 1}, in = summed ? Range{0, results} : of;
            for (int64_t result = in.begin; result < in.end; ++result)
              std::fill(sums.At(0) + result * entries + mine.begin, sums.At(0) + result * entries + mine.end, Wide<T>(0));
            for (int64_t lane = of.begin; lane < of.end; ++lane) add(lane, mine);
            for (int64_t result = in.begin; result < in.end; ++result)
              sums.Finish({result * entries + mine.begin, result * entries + mine.end});
          }
        });
      });
      return ffi::Error::Success();
    });
  });
}

}  // namespace
}  // namespace spikax

SPIKAX_HANDLER(spikax_sddmm_cpu, spikax::SddmmCpu,
               xla::ffi::Ffi::Bind()
                   .Ctx<xla::ffi::ThreadPool>()
                   .Arg<xla::ffi::AnyBuffer>()    // y        [..., rows]
                   .Arg<xla::ffi::AnyBuffer>()    // x        [..., cols]
                   .Arg<xla::ffi::AnyBuffer>()    // indices  [..., entries]
                   .Arg<xla::ffi::AnyBuffer>()    // indptr   [..., rows + 1 or 0]
                   .Ret<xla::ffi::AnyBuffer>());  // z        [..., entries]
