// y = x @ weights: the rows of active events, added up; or y = weights @ x: each row adds up its weights in the columns of active events.
#include <vector>

#include "buffers.h"
#include "dtypes.h"
#include "events.h"
#include "parallel.h"

namespace spikax {
namespace {

// What one task computes of a result at least: enough that finding the events again for each task costs little.
constexpr int64_t kBlock = 512;

// One vector, x @ weights; weights[rows, cols].
template <typename T, typename X>
struct Columns {
  const T* weights;
  const X* x;
  T* y;
  int64_t rows, cols;

  // Of some columns. Sums are in the order of the rows, so do not depend on which columns those are.
  void Run(Range mine) const {
    Wide<T> sum[kBlock] = {};
    const int64_t size = mine.end - mine.begin;
    const T* const first = weights + mine.begin;
    // Rows come in pairs, as a sum is then loaded and stored once for two additions.
    int64_t waiting = -1;
    ForEachActive(x, rows, [&](int64_t i) {
      if (waiting < 0) {
        waiting = i;
        return;
      }
      const T *const one = first + waiting * cols, *const other = first + i * cols;
      const Wide<T> a = Value<Wide<T>>(x[waiting]), b = Value<Wide<T>>(x[i]);
      for (int64_t c = 0; c < size; ++c) sum[c] = (sum[c] + Wide<T>(one[c]) * a) + Wide<T>(other[c]) * b;
      waiting = -1;
    });
    if (waiting >= 0) {
      const T* const one = first + waiting * cols;
      const Wide<T> a = Value<Wide<T>>(x[waiting]);
      for (int64_t c = 0; c < size; ++c) sum[c] += Wide<T>(one[c]) * a;
    }
    for (int64_t c = 0; c < size; ++c) y[mine.begin + c] = T(sum[c]);
  }
};

// One vector, weights @ x; weights[rows, cols].
template <typename T, typename X>
struct Rows {
  const T* weights;
  const X* x;
  T* y;
  int64_t rows, cols;

  void Run(Range mine) const {
    std::vector<int64_t> column;
    std::vector<Wide<T>> value;
    ForEachActive(x, cols, [&](int64_t c) {
      column.push_back(c);
      value.push_back(Value<Wide<T>>(x[c]));
    });
    const int64_t count = column.size();
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const T* const row = weights + i * cols;
      const auto entry = [&](int64_t k) { return Wide<T>(row[column[k]]) * value[k]; };
      // Four sums at a time, since each addition has to wait for the one before it.
      Wide<T> sum[4] = {};
      int64_t k = 0;
      for (; k + 4 <= count; k += 4) {
        for (int j = 0; j < 4; ++j) sum[j] += entry(k + j);
      }
      for (; k < count; ++k) sum[0] += entry(k);
      y[i] = T((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
  }
};

ffi::Error DenseCpu(ffi::ThreadPool pool, ffi::AnyBuffer weights_buffer, ffi::AnyBuffer x_buffer, ffi::Result<ffi::AnyBuffer> y_buffer,
                    bool transpose) {
  const Operand weights(weights_buffer, 2), x(x_buffer), y(*y_buffer);
  Lanes lanes;
  if (ffi::Error error = lanes.Init({&y, &weights, &x}); error.failure()) return error;
  const int64_t rows = weights.axis(weights.rank() - 2), cols = weights.axis(weights.rank() - 1);
  if (x.size() != (transpose ? cols : rows) || y.size() != (transpose ? rows : cols))
    return ffi::Error::InvalidArgument("events and result must be as long as the axes of weights");
  if (ffi::Error error = CheckResult(lanes, weights, y); error.failure()) return error;

  return Dispatch(weights.dtype(), x.dtype(), [&](auto weight, auto event) {
    using T = typename decltype(weight)::type;
    using X = typename decltype(event)::type;
    // A task is a block of the result of one lane.
    const int64_t blocks = (y.size() + kBlock - 1) / kBlock, all = lanes.count() * blocks;
    const int64_t tasks = lanes.count() * (y.size() + x.size() + weights.size() / 64) < kInlineWork ? std::min<int64_t>(all, 1) : all;
    ParallelFor(pool, tasks, [&](int64_t task) {
      const Range mine = Slice(all, task, tasks);
      for (int64_t block = mine.begin; block < mine.end; ++block) {
        const int64_t lane = block / blocks, first = block % blocks * kBlock;
        const T* const w = weights.At<T>(lanes.Offset(weights, lane));
        const X* const events = x.At<X>(lanes.Offset(x, lane));
        T* const result = y.At<T>(lanes.Offset(y, lane));
        const Range part{first, std::min(first + kBlock, y.size())};
        transpose ? Rows<T, X>{w, events, result, rows, cols}.Run(part) : Columns<T, X>{w, events, result, rows, cols}.Run(part);
      }
    });
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace spikax

SPIKAX_HANDLER(spikax_dense_cpu, spikax::DenseCpu,
               xla::ffi::Ffi::Bind()
                   .Ctx<xla::ffi::ThreadPool>()
                   .Arg<xla::ffi::AnyBuffer>()  // weights  [..., rows, cols]
                   .Arg<xla::ffi::AnyBuffer>()  // x        [..., rows], or [..., cols] if transpose
                   .Ret<xla::ffi::AnyBuffer>()  // y        [..., cols], or [..., rows] if transpose
                   .Attr<bool>("transpose"));
