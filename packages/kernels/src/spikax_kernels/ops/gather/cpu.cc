// y[r] = sum of data[k] * x[c] over the entries k, in row r and column c: each row collects from the events it points at.
#include <cstring>
#include <memory>
#include <type_traits>

#include "buffers.h"
#include "compressed.h"
#include "dtypes.h"
#include "events.h"
#include "lane_group.h"
#include "lookup.h"
#include "parallel.h"
#include "prefetch.h"

namespace spikax {
namespace {

// The rows of one task: enough that handing it over pays, few enough that threads finish together.
constexpr int64_t kRows = 256;
// Entries are read in a row, but a CPU that notices does not look beyond a page. Measured: 0.6 -> 0.4 ns an entry in main memory.
constexpr int64_t kEntriesAhead = 1024;
// Bytes that the events of lanes that go together may take.
constexpr int64_t kRoom = 64 << 20;

// One vector of events. kHomogeneous: data holds one weight for all entries.
template <bool kHomogeneous, typename T, typename I, typename Events>
struct Gather {
  const T* data;
  Compressed<I> matrix;
  Events x;
  T* y;

  Wide<T> Weight(int64_t k) const { return Wide<T>(data[kHomogeneous ? 0 : k]); }
  // The weights of four entries.
  void Load(int64_t k, Numbers<Wide<T>>& weights) const {
    if constexpr (kHomogeneous || !std::is_same_v<T, Wide<T>>) {
      weights = Numbers<Wide<T>>{Weight(k), Weight(k + 1), Weight(k + 2), Weight(k + 3)};
    } else {
      std::memcpy(&weights, data + k, sizeof(weights));
    }
  }

  void Run(Range rows) const {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const int64_t end = matrix.End(i);
      int64_t k = matrix.Begin(i);
      // Four sums at a time, since each addition has to wait for the one before it.
      Numbers<Wide<T>> sum = {}, weights;
      for (; k + 4 <= end; k += 4) {
        Prefetch(matrix.indices, k + kEntriesAhead);
        if constexpr (!kHomogeneous) Prefetch(data, k + kEntriesAhead);
        Load(k, weights);
        x.AddTimes(sum, weights, matrix.indices + k);
      }
      for (; k < end; ++k) sum[0] += x.Times(Weight(k), matrix.indices[k]);
      y[i] = T((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
  }
};

// The events of lanes that go together, column by column, and a column of none for indices out of range.
template <typename T>
class EventGroup {
 public:
  explicit EventGroup(int64_t cols) : cols_(cols), values_(new LaneVector<Wide<T>>[cols + 1]()) {}

  template <typename X>
  void Set(int64_t lane, const X* x) {
    ForEachActive(x, cols_, [&](int64_t c) { values_[c].numbers[lane] = Value<Wide<T>>(x[c]); });
  }

  // Not a branch for each entry: whether a column has events cannot be predicted.
  __attribute__((always_inline)) const LaneVector<Wide<T>>& At(uint64_t column) const {
    return values_[std::min(column, static_cast<uint64_t>(cols_))];
  }

 private:
  const int64_t cols_;
  const std::unique_ptr<LaneVector<Wide<T>>[]> values_;
};

// Rows of lanes that go together; y(lane) is where the result of a lane goes.
template <bool kHomogeneous, typename T, typename I, typename ResultAt>
void GatherTogether(const T* data, const Compressed<I>& matrix, const EventGroup<T>& x, Range rows, int64_t lanes, const ResultAt& y) {
  T* results[kGroup<T>];
  for (int64_t j = 0; j < lanes; ++j) results[j] = y(j);
  ForThisCpu([&]() __attribute__((always_inline)) {
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      LaneVector<Wide<T>> sums{};
      const int64_t end = matrix.End(i);
      for (int64_t k = matrix.Begin(i); k < end; ++k) {
        sums.Add(Wide<T>(data[kHomogeneous ? 0 : k]), x.At(static_cast<uint64_t>(static_cast<int64_t>(matrix.indices[k]))));
      }
      for (int64_t j = 0; j < lanes; ++j) results[j][i] = T(sums.numbers[j]);
    }
  });
}

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
    if (ShareMatrix(lanes, data, indices, indptr, x) && indices.size() > 2 * x.size()) {
      const auto together = [&](auto homogeneous) {
        constexpr int64_t kWidth = kGroup<T>;
        const Compressed<I> matrix = MatrixAt<I>(lanes, indices, indptr, y.size(), x.size(), 0);
        const int64_t groups = (lanes.count() + kWidth - 1) / kWidth, blocks = (y.size() + kRows - 1) / kRows;
        // As many groups at once as have room in kRoom.
        const int64_t most = std::clamp<int64_t>(kRoom / (64 * std::max<int64_t>(x.size(), 1)), 1, groups);
        for (int64_t begin = 0; begin < groups; begin += most) {
          const int64_t here = std::min(most, groups - begin);
          const std::unique_ptr<std::unique_ptr<EventGroup<T>>[]> events(new std::unique_ptr<EventGroup<T>>[here]);
          const auto first = [&](int64_t group) { return (begin + group) * kWidth; };
          const auto size = [&](int64_t group) { return std::min(kWidth, lanes.count() - first(group)); };
          ParallelFor(pool, here, [&](int64_t group) {
            events[group] = std::make_unique<EventGroup<T>>(x.size());
            for (int64_t j = 0; j < size(group); ++j) events[group]->Set(j, x.At<X>(lanes.Offset(x, first(group) + j)));
          });
          ParallelFor(pool, here * blocks, [&](int64_t task) {
            const int64_t group = task / blocks, row = task % blocks * kRows;
            GatherTogether<homogeneous.value>(data.At<T>(0), matrix, *events[group], {row, std::min(row + kRows, y.size())}, size(group),
                                              [&](int64_t j) { return y.At<T>(lanes.Offset(y, first(group) + j)); });
          });
        }
      };
      data.size() == 1 ? together(std::true_type{}) : together(std::false_type{});
      return ffi::Error::Success();
    }
    WithEvents<Wide<T>, X>(pool, lanes, x, indices.size(), [&](const auto& events) {
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
