// Columns at random for each row: of the row's stream of uniform draws, the first distinct ones, in ascending order.
//
// A set that is made by comparing draws for nothing but equality favours no column over another, so all sets are equally likely.
#include <atomic>
#include <vector>

#include "buffers.h"
#include "dtypes.h"
#include "parallel.h"
#include "philox.h"

namespace spikax {
namespace {

// A row with at least one entry for so many columns marks them in a bitmap, any other sorts them (measured).
constexpr int64_t kColumnsAnEntry = 1024;

inline int LowestBit(uint64_t word) { return __builtin_ctzll(word); }

struct RandomColumns {
  PhiloxKey key;
  int64_t cols;
  bool replace, loops;

  uint32_t Pool() const { return static_cast<uint32_t>(std::max<int64_t>(cols - (loops ? 0 : 1), 0)); }

  // What a task keeps between rows: no bit is set, no number is left.
  struct Scratch {
    std::vector<uint64_t> bits;
    std::vector<uint32_t> numbers;
  };

  void Row(int64_t row, int32_t* out, int32_t* end, Scratch& scratch) const {
    const uint32_t pool = Pool();
    const int64_t room = pool == 0 ? 0 : end - out, count = replace ? room : std::min<int64_t>(room, pool);
    if (count > 0) {
      Uniform uniform(key, static_cast<uint32_t>(row), pool);
      if (replace || pool / kColumnsAnEntry > count) {
        Sort(uniform, count, row, scratch.numbers, out);
      } else {
        Mark(uniform, count, row, scratch.bits, out);
      }
    }
    // A row that has fewer columns than it should hold: the rest is out of range.
    std::fill(out + count, end, static_cast<int32_t>(cols));
  }

  // Draws that are equal are replaced by later ones, unless they may be.
  void Sort(Uniform& uniform, int64_t count, int64_t row, std::vector<uint32_t>& numbers, int32_t* out) const {
    while (static_cast<int64_t>(numbers.size()) < count) {
      while (static_cast<int64_t>(numbers.size()) < count) numbers.push_back(uniform.Next());
      std::sort(numbers.begin(), numbers.end());
      if (!replace) numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    }
    for (uint32_t number : numbers) *out++ = Column(number, row);
    numbers.clear();
  }

  // A row that takes more than half of the columns draws those that it leaves out.
  void Mark(Uniform& uniform, int64_t count, int64_t row, std::vector<uint64_t>& bits, int32_t* out) const {
    const int64_t pool = Pool(), words = (pool + 63) / 64;
    const bool inverted = count > pool / 2;
    bits.resize(words);
    for (int64_t left = inverted ? pool - count : count; left > 0;) {
      const uint32_t number = uniform.Next();
      uint64_t& word = bits[number / 64];
      const uint64_t marked = word | uint64_t{1} << number % 64;
      left -= marked != word;
      word = marked;
    }
    for (int64_t i = 0; i < words; ++i) {
      uint64_t word = inverted ? ~bits[i] : bits[i];
      if (i == words - 1 && pool % 64 != 0) word &= (uint64_t{1} << pool % 64) - 1;
      bits[i] = 0;
      for (; word != 0; word &= word - 1) *out++ = Column(static_cast<uint32_t>(i * 64 + LowestBit(word)), row);
    }
  }

  // Without loops, the pool of a row is all columns but its own.
  int32_t Column(uint32_t number, int64_t row) const { return static_cast<int32_t>(number + (!loops && number >= row)); }
};

// Where each row begins: rows of no length, or that have no room left, are empty.
std::vector<int64_t> Begins(const int32_t* lengths, int64_t rows, int64_t entries) {
  std::vector<int64_t> begins(rows + 1);
  for (int64_t i = 0; i < rows; ++i) begins[i + 1] = begins[i] + std::clamp<int64_t>(lengths[i], 0, entries - begins[i]);
  return begins;
}

ffi::Error RandomColumnsCpu(ffi::ThreadPool pool, ffi::AnyBuffer key_buffer, ffi::AnyBuffer lengths_buffer,
                            ffi::Result<ffi::AnyBuffer> columns_buffer, int64_t rows, int64_t cols, bool replace, bool loops) {
  const Operand key(key_buffer), lengths(lengths_buffer), columns(*columns_buffer);
  if (key.rank() != 1 || lengths.rank() != 1 || columns.rank() != 1) return ffi::Error::InvalidArgument("operands must have one axis");
  if (key.dtype() != ffi::U32 || key.size() != 2) return ffi::Error::InvalidArgument("the key must be two words of 32 bits");
  if (columns.dtype() != ffi::S32 || cols < 0 || cols > INT32_MAX || rows < 0 || rows > UINT32_MAX)
    return ffi::Error::InvalidArgument("columns must be int32, and rows and columns numbered by 32 bits");
  const int64_t entries = columns.size();
  const bool equal = lengths.size() == 0;
  if (equal ? (rows == 0 ? entries != 0 : entries % rows != 0) : lengths.dtype() != ffi::S32 || lengths.size() != rows)
    return ffi::Error::InvalidArgument("lengths must be int32, one for each row, or none where the entries divide among the rows");

  const uint32_t* words = key.At<uint32_t>(0);
  const RandomColumns draw{{words[0], words[1]}, cols, replace, loops};
  int32_t* const out = columns.At<int32_t>(0);
  std::atomic<bool> exhausted{false};
  try {
    const std::vector<int64_t> begins = equal ? std::vector<int64_t>() : Begins(lengths.At<int32_t>(0), rows, entries);
    const auto begin = [&](int64_t row) { return equal ? entries / rows * row : begins[row]; };
    // Rows do not depend on each other, so neither does the result on the tasks.
    const int64_t tasks = entries < kInlineWork ? std::min<int64_t>(rows, 1) : std::min<int64_t>(rows, int64_t{8} * pool.num_threads());
    ParallelFor(pool, tasks, [&](int64_t task) {
      try {
        RandomColumns::Scratch scratch;
        const Range mine = Slice(rows, task, tasks);
        for (int64_t row = mine.begin; row < mine.end; ++row) draw.Row(row, out + begin(row), out + begin(row + 1), scratch);
      } catch (const std::bad_alloc&) {
        exhausted = true;
      }
    });
    if (rows > 0) std::fill(out + begin(rows), out + entries, static_cast<int32_t>(cols));
  } catch (const std::bad_alloc&) {
    exhausted = true;
  }
  return exhausted ? ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory") : ffi::Error::Success();
}

}  // namespace
}  // namespace spikax

SPIKAX_HANDLER(spikax_random_columns_cpu, spikax::RandomColumnsCpu,
               xla::ffi::Ffi::Bind()
                   .Ctx<xla::ffi::ThreadPool>()
                   .Arg<xla::ffi::AnyBuffer>()  // key      [2]
                   .Arg<xla::ffi::AnyBuffer>()  // lengths  [rows or 0]
                   .Ret<xla::ffi::AnyBuffer>()  // columns  [entries]
                   .Attr<int64_t>("rows")
                   .Attr<int64_t>("cols")
                   .Attr<bool>("replace")
                   .Attr<bool>("loops"));
