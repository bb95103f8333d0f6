// y[c] = sum of data[k] * x[r] over the entries k, in row r and column c: the rows of active events, added up. Only they are visited,
// so the work is that of the synapses that carry a spike.
#include <memory>

#include "accumulators.h"
#include "bins.h"
#include "buffers.h"
#include "compressed.h"
#include "dtypes.h"
#include "events.h"
#include "lane_group.h"
#include "parallel.h"

namespace spikax {
namespace {

// Beyond so many bytes of the result it pays to sort events into tiles, if they are not too few to come back to what a tile brings into
// the cache. Measured with a second cache of 2 MB: with one weight 3.9 -> 3.0 ns an event at 8 MB and 8.2 -> 4.2 ns at 32 MB; weights of
// their own, which move with the events, 8.8 -> 8.4 ns at 32 MB, but on two threads 8.8 -> 4.9 ns.
constexpr int64_t kTiledBytes = 4 << 20, kTiledBytesPerEntry = 16 << 20;
constexpr int64_t kTiledEvents = 8;  // columns for each event, at most
// From so many columns and events on, several threads are faster with tiles than one without, also where an accumulator for each of them
// would cost more than it saves. Measured on two, with 800 k columns: 68 k events 480 -> 380 us, 316 k 1670 -> 1060, with weights of their
// own 2000 -> 1400, but there 68 k take 530 both ways; and with 200 k columns 68 k events take 310 -> 430.
constexpr int64_t kSharedColumns = 3 << 17, kSharedEvents = 3 * kInlineWork / 2, kSharedEventsPerEntry = 8 * kInlineWork;
// Events that are sorted into tiles before these are added up: little memory, which costs time when it is new, but so many that adding
// them up comes back to what it brought into the cache. Measured with 8.5 M columns, one weight: 3.7 -> 2.9 ns with 4 M instead of 1 M.
inline int64_t Batch(int64_t columns) { return std::max<int64_t>(1 << 20, columns / 2); }

// Short rows in main memory take as long as that many of them in a row take to add up.
constexpr int64_t kAhead = 8;

// The active rows of a vector, and the number of events ahead of each.
template <typename X, typename I>
struct ActiveRows {
  ActiveRows(const Compressed<I>& matrix, const X* x) : rows(new int64_t[matrix.rows]), before(new int64_t[matrix.rows + 1]) {
    // Row pointers lie anywhere in memory: ask for all before the first is needed.
    ForEachActive(x, matrix.rows, [&](int64_t i) {
      rows[count++] = i;
      if (matrix.indptr != nullptr) __builtin_prefetch(static_cast<const char*>(matrix.indptr) + i * (matrix.wide ? 8 : 4));
    });
    int64_t events = 0;
    for (int64_t at = 0; at < count; ++at) {
      before[at] = events;
      events += matrix.End(rows[at]) - matrix.Begin(rows[at]);
    }
    before[count] = events;
  }

  int64_t events() const { return before[count]; }

  // Calls visit(row, begin, end) for the entries of the events [mine.begin, mine.end), and ahead(row) for a row some rows before that.
  template <typename Ahead, typename Visit>
  void ForEach(const Compressed<I>& matrix, Range mine, Ahead&& ahead, Visit&& visit) const {
    int64_t at = std::upper_bound(before.get(), before.get() + count + 1, mine.begin) - before.get() - 1;
    for (; at < count && before[at] < mine.end; ++at) {
      if (at + kAhead < count) ahead(rows[at + kAhead]);
      const int64_t first = matrix.Begin(rows[at]) - before[at];
      visit(rows[at], first + std::max(mine.begin, before[at]), first + std::min(mine.end, before[at + 1]));
    }
  }

  int64_t count = 0;
  const std::unique_ptr<int64_t[]> rows, before;  // of which most is never touched
};

// One vector. kHomogeneous: data holds one weight for all entries.
template <bool kHomogeneous, typename T, typename I, typename X>
struct Scatter {
  static constexpr bool kShared = kHomogeneous && sizeof(X) == 1;  // whether all events deliver the same

  const T* data;
  Compressed<I> matrix;
  const X* x;
  T* y;

  // Calls deliver(column, value) for the entries [begin, end), all of row i.
  template <typename Deliver>
  void Visit(int64_t i, int64_t begin, int64_t end, Deliver&& deliver) const {
    const Wide<T> event = Value<Wide<T>>(x[i]);
    for (int64_t k = begin; k < end; ++k) {
      const I column = matrix.indices[k];
      if (matrix.Inside(column)) deliver(column, Wide<T>(data[kHomogeneous ? 0 : k]) * event);
    }
  }

  void Add(int64_t i, int64_t begin, int64_t end, Wide<T>* sum) const {
    Visit(i, begin, end, [sum](I column, Wide<T> value) { sum[column] += value; });
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

  // All on the calling thread; for_each(visit) visits the active rows.
  template <typename ForEach>
  void RunAlone(ForEach&& for_each) const {
    const Accumulators<T> sums(y, matrix.cols, 1);
    Wide<T>* const sum = sums.Begin(0);
    int64_t last = -1;
    for_each([&](int64_t i) {
      Prefetch(i);
      if (last >= 0) Add(last, matrix.Begin(last), matrix.End(last), sum);
      last = i;
    });
    if (last >= 0) Add(last, matrix.Begin(last), matrix.End(last), sum);
    sums.Finish({0, matrix.cols});
  }

  void RunAlone() const {
    RunAlone([this](auto&& visit) { ForEachActive(x, matrix.rows, visit); });
  }

  template <typename Pool>
  void Run(Pool& pool) const {
    if (matrix.entries < 2 * kInlineWork) return RunAlone();
    const ActiveRows<X, I> active(matrix, x);
    const int64_t events = active.events();
    const int64_t chunks = Chunks(events, matrix.cols);
    if (TilesPay(events, chunks, pool.num_threads() > 1)) return RunTiled(pool, active);
    const Accumulators<T> sums(y, matrix.cols, chunks);
    ParallelFor(pool, chunks, [&](int64_t chunk) {
      Wide<T>* const sum = sums.Begin(chunk);
      active.ForEach(
          matrix, Slice(events, chunk, chunks), [&](int64_t i) { Prefetch(i); },
          [&](int64_t i, int64_t begin, int64_t end) { Add(i, begin, end, sum); });
    });
    ParallelFor(pool, chunks, [&](int64_t task) { sums.Finish(Slice(matrix.cols, task, chunks)); });
  }

  // Tiles give the sums of one accumulator, to the bit: where there is but one, the number of threads may decide.
  bool TilesPay(int64_t events, int64_t chunks, bool several) const {
    const int64_t bytes = matrix.cols * static_cast<int64_t>(sizeof(Wide<T>));
    const bool large = bytes > (kShared ? kTiledBytes : kTiledBytesPerEntry) && events > matrix.cols / kTiledEvents;
    if (chunks > 1) return large;
    if (several && matrix.cols >= kSharedColumns && events >= (kShared ? kSharedEvents : kSharedEventsPerEntry)) return true;
    return large && (kShared || several);
  }

  // Batch after batch of events is sorted into tiles by several tasks, each with bins of its own; then each tile is added up from all
  // bins in order.
  template <typename Pool>
  void RunTiled(Pool& pool, const ActiveRows<X, I>& active) const {
    using Sorted = Bins<Wide<T>, I, kShared>;
    const Tiles tiles(matrix.cols);
    const Accumulators<T> sums(y, matrix.cols, 1);
    const int64_t batch_size = Batch(matrix.cols), batches = (active.events() + batch_size - 1) / batch_size;
    const int64_t most = (active.events() + batches - 1) / batches;
    const int64_t chunks = EvenChunks(most / (kInlineWork / 4));
    const std::unique_ptr<std::unique_ptr<Sorted>[]> bins(new std::unique_ptr<Sorted>[chunks]);
    for (int64_t batch = 0; batch < batches; ++batch) {
      const Range part = Slice(active.events(), batch, batches);
      ParallelFor(pool, chunks, [&](int64_t chunk) {
        const Range local = Slice(part.end - part.begin, chunk, chunks), mine{part.begin + local.begin, part.begin + local.end};
        if (batch == 0) bins[chunk] = std::make_unique<Sorted>(tiles, most / chunks + 1);
        Sorted& sorted = *bins[chunk];
        sorted.Clear();
        active.ForEach(
            matrix, mine, [&](int64_t i) { Prefetch(i); },
            [&](int64_t i, int64_t begin, int64_t end) {
              Visit(i, begin, end, [&](I column, Wide<T> value) { sorted.Add(column, value); });
            });
      });
      ParallelFor(pool, tiles.count(), [&](int64_t tile) {
        const Range columns{tiles.Begin(tile), tiles.End(tile)};
        Wide<T>* const sum = sums.At(0);
        if (batch == 0) std::fill(sum + columns.begin, sum + columns.end, Wide<T>(0));
        for (int64_t chunk = 0; chunk < chunks; ++chunk) bins[chunk]->AddUp(tile, kShared ? Wide<T>(data[0]) : Wide<T>(0), sum);
        if (batch == batches - 1) sums.Finish(columns);
      });
    }
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
  uint64_t Word(int64_t lane, int64_t word) const { return bits_[lane * words_ + word]; }

  uint64_t AnyWord(int64_t word) const {
    uint64_t any = 0;
    for (int64_t i = 0; i < lanes_; ++i) any |= Word(i, word);
    return any;
  }

  // Measured, in tenths of a nanosecond: an event of one lane takes 8, an entry for all lanes 16, and the result, transposed, 4 a place.
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
    return 8 * length * static_cast<double>(rows) > 16 * length * static_cast<double>(visits) + 4.0 * static_cast<double>(matrix.cols * kWidth);
  }

  void RunTogether() const {
    const int64_t cols = lane_[0].matrix.cols;
    const std::unique_ptr<Wide<T>[]> sums(new Wide<T>[cols * kWidth]());
    ForThisCpu([&]() __attribute__((always_inline)) {
      const Compressed<I> matrix = lane_[0].matrix;
      const T* const data = lane_[0].data;
      Wide<T>* const sum = sums.get();
      for (int64_t word = 0; word < words_; ++word) {
        for (uint64_t any = AnyWord(word); any != 0; any &= any - 1) {
          const int64_t bit = LowestBit(any), i = 64 * word + bit;
          Wide<T> events[kWidth] = {};
          for (int64_t j = 0; j < lanes_; ++j) {
            if (Word(j, word) >> bit & 1) events[j] = Value<Wide<T>>(lane_[j].x[i]);
          }
          const auto all = LaneVector<Wide<T>>::Load(events);
          const int64_t end = matrix.End(i);
          for (int64_t k = matrix.Begin(i); k < end; ++k) {
            const I column = matrix.indices[k];
            if (!matrix.Inside(column)) continue;
            auto sums = LaneVector<Wide<T>>::Load(sum + column * kWidth);
            sums.Add(Wide<T>(data[kHomogeneous ? 0 : k]), all);
            sums.Store(sum + column * kWidth);
          }
        }
      }
    });
    // A cache line of each lane's result at a time.
    for (int64_t first = 0; first < cols; first += kWidth) {
      const int64_t end = std::min(first + kWidth, cols);
      for (int64_t j = 0; j < lanes_; ++j) {
        for (int64_t c = first; c < end; ++c) lane_[j].y[c] = T(sums[c * kWidth + j]);
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
