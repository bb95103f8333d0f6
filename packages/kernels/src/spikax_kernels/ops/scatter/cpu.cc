// y[c] = sum of data[k] * x[r] over the entries k, in row r and column c: the rows of active events, added up. Only they are visited,
// so the work is that of the synapses that carry a spike.
#include <limits>
#include <memory>
#include <type_traits>

#include "accumulators.h"
#include "active_rows.h"
#include "buffers.h"
#include "compressed.h"
#include "dtypes.h"
#include "events.h"
#include "lane_group.h"
#include "parallel.h"
#include "prefetch.h"
#include "select.h"

namespace spikax {
namespace {

// A result of more bytes than this is asked for before it is needed, kFarAhead entries ahead. Measured, with one weight and on one thread:
// 16 MB 2.0 -> 1.4 ns an event, 34 MB 4.6 -> 2.4; where the result fits the second cache, it costs 0.1 ns.
constexpr int64_t kFarBytes = 4 << 20;
constexpr int64_t kFarAhead = 128;
// A result of more bytes, and so many events, are shared among threads by ranges. Measured, on two: 34 MB 2.6 -> 1.5 ns an event.
constexpr int64_t kRangesBytes = 8 << 20, kRangesEvents = 2 * kInlineWork;
constexpr int64_t kMostRanges = 16;

// So many entries of a row are asked for before they are needed. The CPU would notice by itself that they are read in a row, but too late.
// Measured, 1000 entries a row from memory: 0.95 -> 0.6 ns an event for 4000 targets, 1.35 -> 1.0 for a million.
constexpr int64_t kEntriesAhead = 512;

// Rows of fewer entries are added up one by one: that takes as long as finding out how many blocks they have.
constexpr int64_t kShortRow = 48;
constexpr int64_t kBlock = 8;

// One vector. kHomogeneous: data holds one weight for all entries.
template <bool kHomogeneous, typename T, typename I, typename X>
struct Scatter {
  static constexpr bool kShared = kHomogeneous && kAlike<X>;  // whether all events deliver the same

  const T* data;
  Compressed<I> matrix;
  const X* x;
  T* y;

  // What the entries of a part deliver.
  struct Values {
    const T* data;
    Wide<T> event, shared;

    Wide<T> operator[](int64_t k) const { return kHomogeneous ? shared : Wide<T>(data[k]) * event; }
  };
  Values ValuesOf(const Part& part) const {
    const Wide<T> event = Value<Wide<T>>(x[part.row]);
    return {data, event, kHomogeneous ? Wide<T>(data[0]) * event : Wide<T>(0)};
  }

  void PrefetchEntries(int64_t begin, int64_t end) const {
    constexpr int64_t kLine = 64 / sizeof(I), kDataLine = 64 / sizeof(T);
    for (int64_t k = begin / kLine * kLine; k < end; k += kLine) Prefetch(matrix.indices, k);
    if constexpr (!kHomogeneous) {
      for (int64_t k = begin / kDataLine * kDataLine; k < end; k += kDataLine) Prefetch(data, k);
    }
  }
  void PrefetchEntries(const Part& part) const { PrefetchEntries(part.begin, std::min(part.end, part.begin + kEntriesAhead)); }
  void PrefetchEntry(int64_t k) const {
    Prefetch(matrix.indices, k);
    if constexpr (!kHomogeneous) Prefetch(data, k);
  }

  // Whether the columns of the entries k to k + kBlock - 1 all exist.
  bool AllInside(int64_t k) const {
    using Bits = std::make_unsigned_t<I>;
    const Bits last = static_cast<Bits>(std::min<int64_t>(matrix.cols - 1, std::numeric_limits<I>::max()));
    Bits outside = 0;  // its highest bit: of a number that is negative, or from which `last` is
    for (int64_t j = k; j < k + kBlock; ++j) {
      const Bits column = static_cast<Bits>(matrix.indices[j]);
      outside |= column | (last - column);
    }
    return static_cast<I>(outside) >= 0;
  }

  // Adds up all entries.
  template <bool kFar>
  struct Sum {
    const Scatter& all;
    Wide<T>* const sum;

    void Ahead(const Part& part) { all.PrefetchEntries(part); }

    void Near(const Part& part) {
      if (kFar) PrefetchTargets(part.begin, std::min(part.end, part.begin + kFarAhead));
    }

    void Visit(const Part& part) {
      const I* const columns = all.matrix.indices;
      const Values values = all.ValuesOf(part);
      int64_t k = part.begin;
      if (part.end - part.begin >= kShortRow) {
        for (; k + kBlock <= part.end && all.AllInside(k); k += kBlock) {
          if (k + kEntriesAhead < part.end) all.PrefetchEntry(k + kEntriesAhead);
          if (kFar && k + kFarAhead + kBlock <= part.end) PrefetchTargets(k + kFarAhead, k + kFarAhead + kBlock);
          for (int64_t j = k; j < k + kBlock; ++j) sum[columns[j]] += values[j];
        }
      }
      for (; k < part.end; ++k) {
        if (all.matrix.Inside(columns[k])) sum[columns[k]] += values[k];
      }
    }

   private:
    void PrefetchTargets(int64_t begin, int64_t end) const {
      for (int64_t k = begin; k < end; ++k) Prefetch(sum, all.matrix.indices[k]);
    }
  };

  // Adds up the entries in a range of columns. They are listed, so that they can be asked for, before they are added.
  class SumWithin {
   public:
    SumWithin(const Scatter& all, Wide<T>* sum, Range columns) : all_(all), sum_(sum), columns_(columns) {}

    void Ahead(const Part& part) { all_.PrefetchEntries(part); }
    void Near(const Part&) {}

    void Visit(const Part& part) {
      const Values values = all_.ValuesOf(part);
      shared_ = values.shared;
      for (int64_t first = part.begin; first < part.end; first += kMostSelected) {
        const int64_t size = std::min(part.end - first, kMostSelected);
        int32_t places[kMostSelected];
        all_.PrefetchEntries(first + kEntriesAhead, std::min(part.end, first + kEntriesAhead + size));
        const int64_t found = Select(all_.matrix.indices + first, size, columns_, listed_ + size_, places);
        if constexpr (!kShared) {
          for (int64_t i = 0; i < found; ++i) values_[size_ + i] = values[first + places[i]];
        }
        for (int64_t i = size_; i < size_ + found; ++i) Prefetch(sum_, listed_[i]);
        size_ += found;
        AddUntil(size_ - kFarAhead);
        if (size_ > kMostListed) MoveToFront();
      }
    }

    // To be called after the last row.
    void Flush() { AddUntil(size_); }

   private:
    static constexpr int64_t kMostListed = 1024;

    // Adds up what is listed before this place.
    void AddUntil(int64_t end) {
      for (; added_ < end; ++added_) sum_[listed_[added_]] += kShared ? shared_ : values_[added_];
    }

    void MoveToFront() {
      std::copy(listed_ + added_, listed_ + size_, listed_);
      if constexpr (!kShared) std::copy(values_ + added_, values_ + size_, values_);
      size_ -= added_;
      added_ = 0;
    }

    const Scatter& all_;
    Wide<T>* const sum_;
    const Range columns_;
    Wide<T> shared_ = 0;
    int64_t added_ = 0, size_ = 0;
    I listed_[kMostListed + kMostSelected];
    Wide<T> values_[kShared ? 1 : kMostListed + kMostSelected];
  };

  // Calls run(visitor) with what adds up in `sum`.
  template <typename Run>
  void WithSum(Wide<T>* sum, Run&& run) const {
    if (Bytes() > kFarBytes) {
      Sum<true> visitor{*this, sum};
      run(visitor);
    } else {
      Sum<false> visitor{*this, sum};
      run(visitor);
    }
  }

  int64_t Bytes() const { return matrix.cols * static_cast<int64_t>(sizeof(Wide<T>)); }

  // All on the calling thread; for_each(visit) visits the active rows.
  template <typename ForEach>
  void RunAlone(ForEach&& for_each) const {
    const Accumulators<T> sums(y, matrix.cols, 1);
    WithSum(sums.Begin(0), [&](auto& visitor) {
      RowQueue<kAlike<X>, I, std::decay_t<decltype(visitor)>> rows(matrix, 0, {0, std::numeric_limits<int64_t>::max()}, visitor);
      for_each([&](int64_t i) { rows.Push(i); });
      rows.Flush();
    });
    sums.Finish({0, matrix.cols});
  }

  void RunAlone() const {
    RunAlone([this](auto&& visit) { ForEachActive(x, matrix.rows, visit); });
  }

  template <typename Pool>
  void Run(Pool& pool) const {
    if (matrix.entries < 2 * kInlineWork) return RunAlone();
    const ActiveRows<X, I> active(matrix, x);
    const int64_t events = active.events(), chunks = Chunks(events, matrix.cols);
    if (chunks == 1 && pool.num_threads() > 1 && Bytes() > kRangesBytes && events >= kRangesEvents) return RunRanges(pool, active);
    const Accumulators<T> sums(y, matrix.cols, chunks);
    ParallelFor(pool, chunks, [&](int64_t chunk) {
      WithSum(sums.Begin(chunk), [&](auto& visitor) { active.Visit(Slice(events, chunk, chunks), visitor); });
    });
    ParallelFor(pool, chunks, [&](int64_t task) { sums.Finish(Slice(matrix.cols, task, chunks)); });
  }

  // Each task looks at all events and adds up those in its range of columns. This gives the sums of one accumulator, to the bit, so the
  // number of threads may decide.
  template <typename Pool>
  void RunRanges(Pool& pool, const ActiveRows<X, I>& active) const {
    const Accumulators<T> sums(y, matrix.cols, 1);
    const int64_t ranges = std::min<int64_t>(pool.num_threads(), kMostRanges);
    ParallelFor(pool, ranges, [&](int64_t range) {
      const Range mine = Slice(matrix.cols, range, ranges);
      std::fill(sums.At(0) + mine.begin, sums.At(0) + mine.end, Wide<T>(0));
      SumWithin visitor(*this, sums.At(0), mine);
      active.Visit({0, active.events()}, visitor);
      visitor.Flush();
      sums.Finish(mine);
    });
  }
};

// Lanes of one matrix that go together.
template <bool kHomogeneous, typename T, typename I, typename X>
class ScatterGroup {
 public:
  static constexpr int64_t kWidth = kGroup<T>;
  using Lane = Scatter<kHomogeneous, T, I, X>;

  // The lanes [0, lanes) are lane(i).
  template <typename LaneAt>
  ScatterGroup(int64_t lanes, LaneAt&& lane) : lanes_(lanes), words_(Words(lane(0).matrix.rows)), bits_(new uint64_t[lanes * words_]) {
    for (int64_t i = 0; i < lanes; ++i) {
      lane_[i] = lane(i);
      PackEvents(lane_[i].x, lane_[i].matrix.rows, bits_.get() + i * words_);
    }
  }

  void Run() const {
    if (PaysTogether()) return RunTogether();
    for (int64_t i = 0; i < lanes_; ++i)
      lane_[i].RunAlone([&](auto&& visit) { ForEachBit(bits_.get() + i * words_, words_, visit); });
  }

 private:
  // What an event multiplies a weight by, 0 if it is inactive: not by a branch, which would be a matter of chance.
  static Wide<T> Number(X event) { return kAlike<X> ? Wide<T>(IsActive(event)) : Wide<T>(event); }

  uint64_t Word(int64_t lane, int64_t word) const { return bits_[lane * words_ + word]; }

  uint64_t AnyWord(int64_t word) const {
    uint64_t any = 0;
    for (int64_t i = 0; i < lanes_; ++i) any |= Word(i, word);
    return any;
  }

  // Measured, in tenths of a nanosecond: an event of one lane takes 6, an entry for all lanes 9, and the result, transposed, 4 a place.
  bool PaysTogether() const {
    const Compressed<I>& matrix = lane_[0].matrix;
    if (matrix.cols > kMostColumns || matrix.rows == 0) return false;
    int64_t rows = 0, visits = 0;
    for (int64_t word = 0; word < words_; ++word) {
      if (AnyWord(word) == 0) continue;
      visits += __builtin_popcountll(AnyWord(word));
      for (int64_t i = 0; i < lanes_; ++i) rows += __builtin_popcountll(Word(i, word));
    }
    const double length = static_cast<double>(matrix.entries) / static_cast<double>(matrix.rows);
    const double alone = 6 * length * static_cast<double>(rows), together = 9 * length * static_cast<double>(visits);
    return alone > together + 4.0 * static_cast<double>(matrix.cols * kWidth);
  }

  void RunTogether() const {
    const int64_t cols = lane_[0].matrix.cols;
    const std::unique_ptr<LaneVector<Wide<T>>[]> sums(new LaneVector<Wide<T>>[cols]());
    ForThisCpu([&]() __attribute__((always_inline)) {
      const Lane& first = lane_[0];
      const Compressed<I>& matrix = first.matrix;
      LaneVector<Wide<T>>* const sum = sums.get();
      for (int64_t word = 0; word < words_; ++word) {
        for (uint64_t any = AnyWord(word); any != 0; any &= any - 1) {
          const int64_t i = 64 * word + LowestBit(any), end = matrix.End(i);
          LaneVector<Wide<T>> events = {};
          for (int64_t j = 0; j < lanes_; ++j) events.numbers[j] = Number(lane_[j].x[i]);
          const auto add = [&](int64_t k) __attribute__((always_inline)) {
            sum[matrix.indices[k]].Add(Wide<T>(first.data[kHomogeneous ? 0 : k]), events);
          };
          int64_t k = matrix.Begin(i);
          for (; k + kBlock <= end && first.AllInside(k); k += kBlock) {
            if (k + kEntriesAhead < end) first.PrefetchEntry(k + kEntriesAhead);
            for (int64_t j = k; j < k + kBlock; ++j) add(j);
          }
          for (; k < end; ++k) {
            if (matrix.Inside(matrix.indices[k])) add(k);
          }
        }
      }
    });
    // A cache line of each lane's result at a time.
    for (int64_t first = 0; first < cols; first += kWidth) {
      const int64_t end = std::min(first + kWidth, cols);
      for (int64_t j = 0; j < lanes_; ++j) {
        for (int64_t c = first; c < end; ++c) lane_[j].y[c] = T(sums[c].numbers[j]);
      }
    }
  }

  static constexpr int64_t kMostColumns = 1 << 19;  // 32 MB of sums

  const int64_t lanes_, words_;
  const std::unique_ptr<uint64_t[]> bits_;
  Lane lane_[kWidth] = {};
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
      if (ShareMatrix(lanes, data, indices, indptr, x)) {
        using Group = ScatterGroup<homogeneous.value, T, I, X>;
        const int64_t groups = (lanes.count() + Group::kWidth - 1) / Group::kWidth;
        return ParallelFor(pool, groups, [&](int64_t group) {
          const int64_t first = group * Group::kWidth, size = std::min(Group::kWidth, lanes.count() - first);
          Group(size, [&](int64_t i) { return kernel(first + i); }).Run();
        });
      }
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
