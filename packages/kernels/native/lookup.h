// Events that are read in any order, at any column: there are none beyond the last. Which are active is a matter of chance, so that a
// branch for each would be predicted wrong too often.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "buffers.h"
#include "dtypes.h"
#include "events.h"
#include "half.h"
#include "parallel.h"

namespace spikax {

// Four numbers, added and multiplied together. Of GCC and Clang, which split them where the CPU has no such registers.
template <typename W>
struct Four {
  using Bits = std::conditional_t<sizeof(W) == 8, int64_t, int32_t>;
  typedef W Numbers __attribute__((vector_size(4 * sizeof(W))));
  typedef Bits Masks __attribute__((vector_size(4 * sizeof(W))));
};
template <typename W>
using Bits = typename Four<W>::Bits;
template <typename W>
using Numbers = typename Four<W>::Numbers;
template <typename W>
using Masks = typename Four<W>::Masks;

// Each kind of events has
//   events[column]                          the event, as a number; 0 if it is inactive,
//   events.Times(weight, column)            what it delivers,
//   events.AddTimes(sum, weights, columns)  which adds that of four of them.

// Binary events, a bit for each; the bit after the last is not set.
template <typename W>
class EventBits {
 public:
  using Stored = uint64_t;
  static int64_t Room(int64_t size) { return Words(size + 1); }
  template <typename X>
  static void Store(const X* x, int64_t size, Stored* to) {
    to[Room(size) - 1] = 0;
    PackEvents(x, size, to);
  }

  EventBits(const Stored* stored, int64_t size) : bits_(stored), size_(size) {}

  W operator[](int64_t column) const { return W(Mask(column) & 1); }
  W Times(W weight, int64_t column) const { return BitCast<W>(static_cast<Bits<W>>(BitCast<Bits<W>>(weight) & Mask(column))); }
  template <typename I>
  void AddTimes(Numbers<W>& sum, const Numbers<W>& weights, const I* columns) const {
    const Masks<W> masks = {Mask(columns[0]), Mask(columns[1]), Mask(columns[2]), Mask(columns[3])};
    sum += (Numbers<W>)((Masks<W>)weights & masks);
  }

 private:
  // All bits, or none.
  Bits<W> Mask(int64_t column) const {
    const uint64_t place = std::min(static_cast<uint64_t>(column), static_cast<uint64_t>(size_));
    return -static_cast<Bits<W>>(bits_[place >> 6] >> (place & 63) & 1);
  }

  const uint64_t* const bits_;
  const int64_t size_;
};

// Events with values, and a 0 after the last.
template <typename W>
class EventValues {
 public:
  using Stored = W;
  static int64_t Room(int64_t size) { return size + 1; }
  template <typename X>
  static void Store(const X* x, int64_t size, Stored* to) {
    for (int64_t i = 0; i < size; ++i) to[i] = IsActive(x[i]) ? Value<W>(x[i]) : W(0);
    to[size] = 0;
  }

  EventValues(const Stored* stored, int64_t size) : values_(stored), size_(size) {}

  W operator[](int64_t column) const { return values_[std::min(static_cast<uint64_t>(column), static_cast<uint64_t>(size_))]; }
  // An inactive event is 0 and delivers nothing, whatever the weight.
  W Times(W weight, int64_t column) const {
    const W event = (*this)[column], product = weight * event;
    return BitCast<W>(static_cast<Bits<W>>(BitCast<Bits<W>>(product) & -static_cast<Bits<W>>(event != 0)));
  }
  template <typename I>
  void AddTimes(Numbers<W>& sum, const Numbers<W>& weights, const I* columns) const {
    const W* const all = values_;
    const uint64_t size = size_;
    const auto at = [all, size](I column) { return all[std::min(static_cast<uint64_t>(static_cast<int64_t>(column)), size)]; };
    const Numbers<W> events = {at(columns[0]), at(columns[1]), at(columns[2]), at(columns[3])};
    sum += (Numbers<W>)((Masks<W>)(weights * events) & (events != Numbers<W>{}));
  }

 private:
  const W* const values_;
  const int64_t size_;
};

// Events as they are, for a vector of which most is never looked at.
template <typename W, typename X>
class EventsAsTheyAre {
 public:
  EventsAsTheyAre(const X* x, int64_t size) : x_(x), size_(size) {}

  W operator[](int64_t column) const {
    return static_cast<uint64_t>(column) < static_cast<uint64_t>(size_) && IsActive(x_[column]) ? Value<W>(x_[column]) : W(0);
  }
  W Times(W weight, int64_t column) const {
    const W event = (*this)[column];
    return event == 0 ? W(0) : weight * event;
  }
  template <typename I>
  void AddTimes(Numbers<W>& sum, const Numbers<W>& weights, const I* columns) const {
    for (int j = 0; j < 4; ++j) sum[j] += Times(weights[j], columns[j]);
  }

 private:
  const X* const x_;
  const int64_t size_;
};

// Binary events that would take more bytes as numbers are kept as bits. Measured, at the speed of one thread: up to 1 M columns numbers
// take 0.4 to 0.9 ns an entry and bits 0.6 to 1.1; of 4 M, 8.9 and 2.8.
inline constexpr int64_t kNumbersBytes = 4 << 20;

// Gives run(events) what has the events of a lane, of vectors of type X that are each read `reads` times; W is what they are computed in.
template <typename W, typename X, typename Pool, typename Run>
void WithEvents(Pool& pool, const Lanes& lanes, const Operand& x, int64_t reads, Run&& run) {
  const int64_t size = x.size(), vectors = lanes.CountIn(x);
  const auto stored = [&](auto as) {
    using Events = typename decltype(as)::type;
    const int64_t room = Events::Room(size), tasks = vectors * size < kInlineWork ? 1 : vectors;
    const std::unique_ptr<typename Events::Stored[]> all(new typename Events::Stored[vectors * room]);
    ParallelFor(pool, tasks, [&](int64_t task) {
      const Range mine = Slice(vectors, task, tasks);
      for (int64_t i = mine.begin; i < mine.end; ++i) Events::Store(x.At<X>(i * size), size, all.get() + i * room);
    });
    run([&](int64_t lane) { return Events(all.get() + lanes.Offset(x, lane) / std::max<int64_t>(size, 1) * room, size); });
  };
  const bool few = reads < size;
  if constexpr (kAlike<X>) {
    if (few || size * static_cast<int64_t>(sizeof(W)) > kNumbersBytes) return stored(Type<EventBits<W>>{});
  } else {
    if (few) return run([&](int64_t lane) { return EventsAsTheyAre<W, X>(x.At<X>(lanes.Offset(x, lane)), size); });
  }
  stored(Type<EventValues<W>>{});
}

}  // namespace spikax
