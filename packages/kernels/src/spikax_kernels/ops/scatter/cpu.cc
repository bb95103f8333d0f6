// y[c] = sum of data[k] * x[r] over the entries k, in row r and column c: the rows of active events, added up. Only they are visited,
// so the work is that of the synapses that carry a spike.
#include <vector>

#include "accumulators.h"
#include "buffers.h"
#include "compressed.h"
#include "dtypes.h"
#include "events.h"
#include "parallel.h"

namespace spikax {
namespace {

// One vector. kHomogeneous: data holds one weight for all entries.
template <bool kHomogeneous, typename T, typename I, typename X>
struct Scatter {
  const T* data;
  Compressed<I> matrix;
  const X* x;
  T* y;

  // Adds the entries [begin, end), all of row i, into `sum`.
  void Add(int64_t i, int64_t begin, int64_t end, Wide<T>* sum) const {
    const Wide<T> event = Value<Wide<T>>(x[i]);
    for (int64_t k = begin; k < end; ++k) {
      const I column = matrix.indices[k];
      if (matrix.Inside(column)) sum[column] += Wide<T>(data[kHomogeneous ? 0 : k]) * event;
    }
  }

  // Rows lie anywhere in memory: ask for one while the row before it is added up.
  void Prefetch(int64_t i) const {
    constexpr int64_t kLine = 64 / sizeof(I);
    const int64_t begin = matrix.Begin(i), end = std::min(matrix.End(i), begin + 8 * kLine);
    for (int64_t k = begin; k < end; k += kLine) {
      __builtin_prefetch(matrix.indices + k);
      if constexpr (!kHomogeneous) __builtin_prefetch(data + k);
    }
  }

  // All on the calling thread.
  void RunAlone() const {
    const Accumulators<T> sums(y, matrix.cols, 1);
    Wide<T>* const sum = sums.Begin(0);
    int64_t last = -1;
    ForEachActive(x, matrix.rows, [&](int64_t i) {
      Prefetch(i);
      if (last >= 0) Add(last, matrix.Begin(last), matrix.End(last), sum);
      last = i;
    });
    if (last >= 0) Add(last, matrix.Begin(last), matrix.End(last), sum);
    sums.Finish({0, matrix.cols});
  }

  template <typename Pool>
  void Run(Pool& pool) const {
    std::vector<int64_t> rows, before{0};  // the active rows, and for each the number of events ahead of it
    ForEachActive(x, matrix.rows, [&](int64_t i) {
      rows.push_back(i);
      before.push_back(before.back() + matrix.End(i) - matrix.Begin(i));
    });
    const int64_t events = before.back(), chunks = Chunks(events, matrix.cols);
    const Accumulators<T> sums(y, matrix.cols, chunks);
    ParallelFor(pool, chunks, [&](int64_t chunk) {
      Wide<T>* const sum = sums.Begin(chunk);
      const Range mine = Slice(events, chunk, chunks);
      size_t row = std::upper_bound(before.begin(), before.end(), mine.begin) - before.begin() - 1;
      for (; row < rows.size() && before[row] < mine.end; ++row) {
        if (row + 1 < rows.size()) Prefetch(rows[row + 1]);
        const int64_t first = matrix.Begin(rows[row]) - before[row];
        Add(rows[row], first + std::max(mine.begin, before[row]), first + std::min(mine.end, before[row + 1]), sum);
      }
    });
    ParallelFor(pool, chunks, [&](int64_t task) { sums.Finish(Slice(matrix.cols, task, chunks)); });
  }
};

ffi::Error ScatterCpu(ffi::ThreadPool pool, ffi::AnyBuffer data_buffer, ffi::AnyBuffer indices_buffer, ffi::AnyBuffer indptr_buffer,
                      ffi::AnyBuffer x_buffer, ffi::Result<ffi::AnyBuffer> y_buffer) {
  const Operand data(data_buffer), indices(indices_buffer), indptr(indptr_buffer), x(x_buffer), y(*y_buffer);
  Lanes lanes;
  if (ffi::Error error = lanes.Init({&y, &data, &indices, &indptr, &x}); error.failure()) return error;
  if (ffi::Error error = CheckMatrix(indices, indptr, x.size()); error.failure()) return error;
  if (ffi::Error error = CheckProduct(lanes, data, indices, y); error.failure()) return error;

  return Dispatch(data.dtype(), indices.dtype(), x.dtype(), [&](auto weight, auto index, auto event) {
    using T = typename decltype(weight)::type;
    using I = typename decltype(index)::type;
    using X = typename decltype(event)::type;
    const auto run = [&](auto homogeneous) {
      const auto kernel = [&](int64_t lane) {
        return Scatter<homogeneous.value, T, I, X>{data.At<T>(lanes.Offset(data, lane)),
                                                   MatrixAt<I>(lanes, indices, indptr, x.size(), y.size(), lane),
                                                   x.At<X>(lanes.Offset(x, lane)), y.At<T>(lanes.Offset(y, lane))};
      };
      if (lanes.count() == 1) return kernel(0).Run(pool);
      // The number of events is not known yet; one in 64 is more than a network fires in a step.
      const int64_t work = lanes.count() * (x.size() + y.size() + indices.size() / 64);
      const int64_t tasks = work < kInlineWork ? 1 : std::min<int64_t>(lanes.count(), 256);
      ParallelFor(pool, tasks, [&](int64_t task) {
        const Range mine = Slice(lanes.count(), task, tasks);
        for (int64_t lane = mine.begin; lane < mine.end; ++lane) kernel(lane).RunAlone();
      });
    };
    data.size() == 1 ? run(std::true_type{}) : run(std::false_type{});
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace spikax

SPIKAX_HANDLER(spikax_scatter_cpu, spikax::ScatterCpu,
               xla::ffi::Ffi::Bind()
                   .Ctx<xla::ffi::ThreadPool>()
                   .Arg<xla::ffi::AnyBuffer>()    // data     [..., 1 or entries]
                   .Arg<xla::ffi::AnyBuffer>()    // indices  [..., entries]
                   .Arg<xla::ffi::AnyBuffer>()    // indptr   [..., rows + 1 or 0]
                   .Arg<xla::ffi::AnyBuffer>()    // x        [..., rows]
                   .Ret<xla::ffi::AnyBuffer>());  // y        [..., cols]
