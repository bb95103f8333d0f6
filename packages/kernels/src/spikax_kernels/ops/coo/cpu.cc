// y[c] = sum of data[k] * x[r] over the entries k, in row r and column c, in any order: all of them are visited, and the event of each
// is looked up.
#include "accumulators.h"
#include "buffers.h"
#include "dtypes.h"
#include "lookup.h"
#include "parallel.h"

namespace spikax {
namespace {

// So many lanes keep all threads busy, each with lanes of its own.
constexpr int64_t kManyLanes = 16;

// One vector of events. kHomogeneous: data holds one weight for all entries.
template <bool kHomogeneous, typename T, typename I, typename Events>
struct Coo {
  const T* data;
  const I* row;
  const I* col;
  Events x;
  int64_t cols;

  bool Inside(I column) const { return static_cast<uint64_t>(static_cast<int64_t>(column)) < static_cast<uint64_t>(cols); }

  void Add(Range mine, Wide<T>* sum) const {
    for (int64_t k = mine.begin; k < mine.end; ++k) {
      const Wide<T> event = x[row[k]];
      if (event != 0 && Inside(col[k])) sum[col[k]] += Wide<T>(data[kHomogeneous ? 0 : k]) * event;
    }
  }
};

ffi::Error CooCpu(ffi::ThreadPool pool, ffi::AnyBuffer data_buffer, ffi::AnyBuffer row_buffer, ffi::AnyBuffer col_buffer,
                  ffi::AnyBuffer x_buffer, ffi::Result<ffi::AnyBuffer> y_buffer) {
  const Operand data(data_buffer), row(row_buffer), col(col_buffer), x(x_buffer), y(*y_buffer);
  Lanes lanes;
  if (ffi::Error error = lanes.Init({&y, &data, &row, &col, &x}); error.failure()) return error;
  if (row.dtype() != col.dtype() || row.size() != col.size())
    return ffi::Error::InvalidArgument("row and col must have one dtype and one length");
  if (ffi::Error error = CheckProduct(lanes, data, row, y); error.failure()) return error;

  return Dispatch(data.dtype(), row.dtype(), x.dtype(), [&](auto weight, auto index, auto event) {
    using T = typename decltype(weight)::type;
    using I = typename decltype(index)::type;
    using X = typename decltype(event)::type;
    const int64_t count = lanes.count(), entries = row.size(), size = y.size();
    const int64_t chunks = count < kManyLanes ? Chunks(entries, size) : 1;
    const auto run = [&](auto homogeneous, const auto& events) {
      using Events = std::decay_t<decltype(events(0))>;
      const auto kernel = [&](int64_t lane) {
        return Coo<homogeneous.value, T, I, Events>{data.At<T>(lanes.Offset(data, lane)), row.At<I>(lanes.Offset(row, lane)),
                                                    col.At<I>(lanes.Offset(col, lane)), events(lane), size};
      };
      if (chunks == 1) {
        const int64_t tasks = count * (entries + size) < kInlineWork ? 1 : count;
        return ParallelFor(pool, tasks, [&](int64_t task) {
          const Range mine = Slice(count, task, tasks);
          for (int64_t lane = mine.begin; lane < mine.end; ++lane) {
            const Accumulators<T> sums(y.At<T>(lanes.Offset(y, lane)), size, 1);
            kernel(lane).Add({0, entries}, sums.Begin(0));
            sums.Finish({0, size});
          }
        });
      }
      for (int64_t lane = 0; lane < count; ++lane) {
        const Accumulators<T> sums(y.At<T>(lanes.Offset(y, lane)), size, chunks);
        ParallelFor(pool, chunks, [&](int64_t chunk) { kernel(lane).Add(Slice(entries, chunk, chunks), sums.Begin(chunk)); });
        ParallelFor(pool, chunks, [&](int64_t task) { sums.Finish(Slice(size, task, chunks)); });
      }
    };
    WithEvents<Wide<T>, X>(pool, lanes, x, entries, [&](const auto& events) {
      data.size() == 1 ? run(std::true_type{}, events) : run(std::false_type{}, events);
    });
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace spikax

SPIKAX_HANDLER(spikax_coo_cpu, spikax::CooCpu,
               xla::ffi::Ffi::Bind()
                   .Ctx<xla::ffi::ThreadPool>()
                   .Arg<xla::ffi::AnyBuffer>()    // data  [..., 1 or entries]
                   .Arg<xla::ffi::AnyBuffer>()    // row   [..., entries]
                   .Arg<xla::ffi::AnyBuffer>()    // col   [..., entries]
                   .Arg<xla::ffi::AnyBuffer>()    // x     [..., rows]
                   .Ret<xla::ffi::AnyBuffer>());  // y     [..., size]
