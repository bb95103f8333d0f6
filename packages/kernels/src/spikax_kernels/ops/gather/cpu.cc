// y[r] = sum of data[k] * x[c] over the entries k, in row r and column c: each row collects from the events it points at.
#include "buffers.h"
#include "compressed.h"
#include "dtypes.h"
#include "events.h"
#include "parallel.h"

namespace spikax {
namespace {

// The rows of one task: enough that handing it over pays, few enough that threads finish together.
constexpr int64_t kRows = 256;

// One vector of events, packed or not. kHomogeneous: data holds one weight for all entries.
template <bool kHomogeneous, typename T, typename I, typename Events>
struct Gather {
  const T* data;
  Compressed<I> matrix;
  Events x;
  T* y;

  Wide<T> Entry(int64_t k) const {
    const I column = matrix.indices[k];
    if (!matrix.Inside(column) || !x.Active(column)) return Wide<T>(0);
    return Wide<T>(data[kHomogeneous ? 0 : k]) * x.template ValueOf<Wide<T>>(column);
  }

  void Run(Range rows) const {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const int64_t end = matrix.End(i);
      int64_t k = matrix.Begin(i);
      // Four sums at a time, since each addition has to wait for the one before it.
      Wide<T> sum[4] = {};
      for (; k + 4 <= end; k += 4) {
        for (int j = 0; j < 4; ++j) sum[j] += Entry(k + j);
      }
      for (; k < end; ++k) sum[0] += Entry(k);
      y[i] = T((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
  }
};

ffi::Error GatherCpu(ffi::ThreadPool pool, ffi::AnyBuffer data_buffer, ffi::AnyBuffer indices_buffer, ffi::AnyBuffer indptr_buffer,
                     ffi::AnyBuffer x_buffer, ffi::Result<ffi::AnyBuffer> y_buffer) {
  const Operand data(data_buffer), indices(indices_buffer), indptr(indptr_buffer), x(x_buffer), y(*y_buffer);
  Lanes lanes;
  if (ffi::Error error = lanes.Init({&y, &data, &indices, &indptr, &x}); error.failure()) return error;
  if (ffi::Error error = CheckMatrix(indices, indptr, y.size()); error.failure()) return error;
  if (ffi::Error error = CheckProduct(lanes, data, indices, y); error.failure()) return error;

  return Dispatch(data.dtype(), indices.dtype(), x.dtype(), [&](auto weight, auto index, auto event) {
    using T = typename decltype(weight)::type;
    using I = typename decltype(index)::type;
    using X = typename decltype(event)::type;
    const auto run = [&](auto homogeneous, const auto& events) {
      using Events = std::decay_t<decltype(events(0))>;
      // A task is a block of rows of one lane.
      const int64_t blocks = (y.size() + kRows - 1) / kRows, all = lanes.count() * blocks;
      const int64_t tasks = lanes.count() * (y.size() + indices.size()) < kInlineWork ? 1 : all;
      ParallelFor(pool, tasks, [&](int64_t task) {
        const Range mine = Slice(all, task, tasks);
        for (int64_t block = mine.begin; block < mine.end; ++block) {
          const int64_t lane = block / blocks, first = block % blocks * kRows;
          const Gather<homogeneous.value, T, I, Events> kernel{data.At<T>(lanes.Offset(data, lane)),
                                                               MatrixAt<I>(lanes, indices, indptr, y.size(), x.size(), lane),
                                                               events(lane), y.At<T>(lanes.Offset(y, lane))};
          kernel.Run({first, std::min(first + kRows, y.size())});
        }
      });
    };
    WithEvents<X>(pool, lanes, x, indices.size(), [&](const auto& events) {
      data.size() == 1 ? run(std::true_type{}, events) : run(std::false_type{}, events);
    });
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace spikax

SPIKAX_HANDLER(spikax_gather_cpu, spikax::GatherCpu,
               xla::ffi::Ffi::Bind()
                   .Ctx<xla::ffi::ThreadPool>()
                   .Arg<xla::ffi::AnyBuffer>()    // data     [..., 1 or entries]
                   .Arg<xla::ffi::AnyBuffer>()    // indices  [..., entries]
                   .Arg<xla::ffi::AnyBuffer>()    // indptr   [..., rows + 1 or 0]
                   .Arg<xla::ffi::AnyBuffer>()    // x        [..., cols]
                   .Ret<xla::ffi::AnyBuffer>());  // y        [..., rows]
