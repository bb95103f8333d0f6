// The kernels' handlers, called as XLA calls them but by this program: with buffers that end where their elements end, with structure
// that describes no matrix, from many threads, on thread pools of several sizes. Each result is compared with a plain loop over the
// definition. Weights are small integers, so that sums are exact, before they are rounded to half precision, and every order of them
// gives the same bits.
//
// Under AddressSanitizer and UBSan, then under ThreadSanitizer (HEADERS is what `python -c "import jax; print(jax.ffi.include_dir())"`
// prints; each builds and runs in under a minute):
//
//   for flags in -fsanitize=address,undefined -fsanitize=thread; do
//     g++ -std=c++17 -O1 -g1 -pthread -ffp-contract=off $flags -fno-sanitize-recover=all -Ipackages/kernels/native -isystem $HEADERS
//       tests/kernels/native/driver.cc packages/kernels/src/spikax_kernels/ops/*/cpu.cc -o driver && ./driver
//   done
#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "half.h"
#include "xla/ffi/api/c_api.h"

extern "C" XLA_FFI_Error* spikax_scatter_cpu(XLA_FFI_CallFrame*);
extern "C" XLA_FFI_Error* spikax_gather_cpu(XLA_FFI_CallFrame*);
extern "C" XLA_FFI_Error* spikax_sddmm_cpu(XLA_FFI_CallFrame*);
extern "C" XLA_FFI_Error* spikax_coo_cpu(XLA_FFI_CallFrame*);
extern "C" XLA_FFI_Error* spikax_dense_cpu(XLA_FFI_CallFrame*);

struct XLA_FFI_Error {
  std::string message;
};

namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::exit(1);
}

// ---- What XLA gives a handler: a thread pool, errors, buffers.

class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  int64_t size() const { return static_cast<int64_t>(threads_.size()); }
  void Schedule(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void Work() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

Pool& PoolOf(XLA_FFI_ExecutionContext* context) { return *reinterpret_cast<Pool*>(context); }

const XLA_FFI_Api* Api() {
  static const XLA_FFI_Api api = [] {
    XLA_FFI_Api made{};
    made.struct_size = XLA_FFI_Api_STRUCT_SIZE;
    made.XLA_FFI_Error_Create = [](XLA_FFI_Error_Create_Args* args) { return new XLA_FFI_Error{args->message}; };
    made.XLA_FFI_Error_Destroy = [](XLA_FFI_Error_Destroy_Args* args) { delete args->error; };
    made.XLA_FFI_ThreadPool_Schedule = [](XLA_FFI_ThreadPool_Schedule_Args* args) -> XLA_FFI_Error* {
      PoolOf(args->ctx).Schedule([task = args->task, data = args->data] { task(data); });
      return nullptr;
    };
    made.XLA_FFI_ThreadPool_NumThreads = [](XLA_FFI_ThreadPool_NumThreads_Args* args) -> XLA_FFI_Error* {
      *args->num_threads = PoolOf(args->ctx).size();
      return nullptr;
    };
    return made;
  }();
  return &api;
}

using Dims = std::vector<int64_t>;

// An array whose memory ends with its last element; none at all if it is empty, as XLA may pass it.
struct Array {
  XLA_FFI_DataType dtype;
  Dims dims;
  int64_t size;
  std::unique_ptr<unsigned char[]> bytes;

  Array(XLA_FFI_DataType dtype, Dims dims) : dtype(dtype), dims(std::move(dims)), size(1) {
    for (int64_t length : this->dims) size *= length;
    // Any bytes may be there before a kernel writes its result.
    if (size > 0) bytes.reset(new unsigned char[size * Width()]), std::memset(bytes.get(), 0xA5, size * Width());
  }
  int64_t Width() const {
    switch (dtype) {
      case XLA_FFI_DataType_PRED: return 1;
      case XLA_FFI_DataType_F16: case XLA_FFI_DataType_BF16: return 2;
      case XLA_FFI_DataType_F32: case XLA_FFI_DataType_S32: return 4;
      default: return 8;
    }
  }
  template <typename T>
  T* As() const { return reinterpret_cast<T*>(bytes.get()); }

  void Set(int64_t i, double value) {
    if (dtype == XLA_FFI_DataType_F32) As<float>()[i] = static_cast<float>(value);
    else if (dtype == XLA_FFI_DataType_F64) As<double>()[i] = value;
    else if (dtype == XLA_FFI_DataType_F16) As<spikax::Half>()[i] = spikax::Half(static_cast<float>(value));
    else if (dtype == XLA_FFI_DataType_BF16) As<spikax::BFloat16>()[i] = spikax::BFloat16(static_cast<float>(value));
    else As<unsigned char>()[i] = value != 0;
  }
  double Get(int64_t i) const {
    if (dtype == XLA_FFI_DataType_F32) return As<float>()[i];
    if (dtype == XLA_FFI_DataType_F64) return As<double>()[i];
    if (dtype == XLA_FFI_DataType_F16) return static_cast<float>(As<spikax::Half>()[i]);
    if (dtype == XLA_FFI_DataType_BF16) return static_cast<float>(As<spikax::BFloat16>()[i]);
    return As<unsigned char>()[i];
  }
  void SetIndex(int64_t i, int64_t value) {
    if (dtype == XLA_FFI_DataType_S32) As<int32_t>()[i] = static_cast<int32_t>(value);
    else As<int64_t>()[i] = value;
  }
  int64_t Index(int64_t i) const { return dtype == XLA_FFI_DataType_S32 ? As<int32_t>()[i] : As<int64_t>()[i]; }
  int64_t Last() const { return dims.back(); }
  // Where the elements for a lane begin, if axes of length 1 serve every lane; a matrix has two axes within a lane.
  int64_t Lane(const Dims& lane) const {
    int64_t at = 0;
    for (size_t i = 0; i < lane.size(); ++i) at = at * dims[i] + (dims[i] == 1 ? 0 : lane[i]);
    for (size_t i = lane.size(); i < dims.size(); ++i) at *= dims[i];
    return at;
  }
};

using Handler = XLA_FFI_Error* (*)(XLA_FFI_CallFrame*);

// Whether the handler took the call; its error is dropped. `transpose` is an attribute of the handlers that have one.
bool Call(Handler handler, Pool& pool, const std::vector<const Array*>& operands, Array& result, bool transpose = false) {
  std::vector<XLA_FFI_Buffer> buffers;
  for (const Array* array : operands) {
    buffers.push_back({XLA_FFI_Buffer_STRUCT_SIZE, nullptr, array->dtype, array->bytes.get(),
                       static_cast<int64_t>(array->dims.size()), const_cast<int64_t*>(array->dims.data())});
  }
  XLA_FFI_Buffer out{XLA_FFI_Buffer_STRUCT_SIZE, nullptr, result.dtype, result.bytes.get(),
                     static_cast<int64_t>(result.dims.size()), result.dims.data()};
  std::vector<XLA_FFI_ArgType> types(buffers.size(), XLA_FFI_ArgType_BUFFER);
  std::vector<void*> args;
  for (XLA_FFI_Buffer& buffer : buffers) args.push_back(&buffer);
  XLA_FFI_RetType ret_type = XLA_FFI_RetType_BUFFER;
  void* ret = &out;

  XLA_FFI_CallFrame frame{};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = Api();
  frame.ctx = reinterpret_cast<XLA_FFI_ExecutionContext*>(&pool);
  frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, static_cast<int64_t>(args.size()), types.data(), args.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, 1, &ret_type, &ret};
  XLA_FFI_ByteSpan name{"transpose", 9};
  XLA_FFI_Scalar scalar{XLA_FFI_DataType_PRED, &transpose};
  XLA_FFI_AttrType attr_type = XLA_FFI_AttrType_SCALAR;
  XLA_FFI_ByteSpan* names = &name;
  void* attrs = &scalar;
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, 0, nullptr, nullptr, nullptr};
  if (handler == spikax_dense_cpu) frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, 1, &attr_type, &names, &attrs};
  const std::unique_ptr<XLA_FFI_Error> error(handler(&frame));
  return error == nullptr;
}

// ---- Cases.

using Random = std::mt19937_64;

int64_t Draw(Random& random, int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); }

// Of equal rows there are no pointers, and columns are wild, too.
enum class Structure { kMatrix, kWildColumns, kEqualRows, kTooLong, kWild, kFalling, kSawtooth };
constexpr Structure kStructures[] = {Structure::kMatrix, Structure::kWildColumns, Structure::kEqualRows, Structure::kTooLong,
                                     Structure::kWild,   Structure::kFalling,     Structure::kSawtooth};

int64_t Extreme(Random& random, const Array& array, int64_t range) {
  const bool wide = array.dtype == XLA_FFI_DataType_S64;
  const int64_t most = wide ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int32_t>::max();
  const int64_t values[] = {-most - 1, -most, -range, -1, 0, range - 1, range, range + 1, most - 1, most};
  return values[Draw(random, 0, 9)];
}

void FillColumns(Random& random, Array& indices, int64_t cols, bool wild) {
  for (int64_t k = 0; k < indices.size; ++k) {
    const bool outside = cols == 0 || (wild && Draw(random, 0, 2) == 0);
    indices.SetIndex(k, outside ? Extreme(random, indices, cols) : Draw(random, 0, cols - 1));
  }
}

void FillPointers(Random& random, Array& indptr, int64_t entries, Structure structure) {
  if (structure == Structure::kEqualRows) return;
  for (int64_t first = 0; first < indptr.size; first += indptr.Last()) {
    std::vector<int64_t> pointers(indptr.Last());
    for (int64_t& pointer : pointers) pointer = Draw(random, 0, entries);
    if (structure != Structure::kWild) std::sort(pointers.begin(), pointers.end());
    if (structure == Structure::kMatrix || structure == Structure::kWildColumns) pointers.front() = 0, pointers.back() = entries;
    if (structure == Structure::kTooLong) pointers.front() = -7, pointers.back() = Extreme(random, indptr, entries) | entries;
    if (structure == Structure::kFalling) std::reverse(pointers.begin(), pointers.end());
    for (size_t i = 0; i < pointers.size(); ++i) {
      const bool wild = structure == Structure::kWild && Draw(random, 0, 2) == 0;
      if (structure == Structure::kSawtooth) pointers[i] = i % 2 ? entries : 0;
      indptr.SetIndex(first + i, wild ? Extreme(random, indptr, entries) : pointers[i]);
    }
  }
}

void FillValues(Random& random, Array& array, double active) {
  for (int64_t i = 0; i < array.size; ++i) {
    const bool on = std::uniform_real_distribution<double>(0, 1)(random) < active;
    array.Set(i, on ? Draw(random, 1, 3) * (Draw(random, 0, 1) ? 1 : -1) : 0);
  }
}

struct Sizes {
  int64_t rows, cols, entries;
  double active;

  int64_t Pointers(Structure structure) const { return structure == Structure::kEqualRows ? 0 : rows + 1; }
  // As many entries as the structure can have.
  Sizes For(Structure structure) const {
    Sizes sizes = *this;
    if (structure == Structure::kEqualRows) sizes.entries = rows == 0 ? 0 : entries / rows * rows;
    return sizes;
  }
};

XLA_FFI_DataType Either(Random& random, XLA_FFI_DataType one, XLA_FFI_DataType other) { return Draw(random, 0, 1) ? one : other; }

XLA_FFI_DataType Weight(Random& random) {
  const XLA_FFI_DataType all[] = {XLA_FFI_DataType_F32, XLA_FFI_DataType_F64, XLA_FFI_DataType_F16, XLA_FFI_DataType_BF16};
  return all[Draw(random, 0, 3)];
}

// `lanes` with some of its axes shared, and one more for the elements.
Dims Some(Random& random, const Dims& lanes, int64_t last) {
  Dims dims = lanes;
  for (int64_t& length : dims) length = Draw(random, 0, 1) ? length : 1;
  dims.push_back(last);
  return dims;
}

Dims Broadcast(const std::vector<const Array*>& operands) {
  Dims lanes(operands[0]->dims.size() - 1, 1);
  for (const Array* array : operands) {
    for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = array->dims[i] == 1 ? lanes[i] : array->dims[i];
  }
  return lanes;
}

void ForEachLane(const Dims& lanes, const std::function<void(const Dims&)>& visit) {
  Dims lane(lanes.size(), 0);
  if (std::find(lanes.begin(), lanes.end(), 0) != lanes.end()) return;
  for (;;) {
    visit(lane);
    size_t i = lanes.size();
    while (i > 0 && ++lane[i - 1] == lanes[i - 1]) lane[--i] = 0;
    if (i == 0) return;
  }
}

// Calls visit(row, column, entry) for each entry of a lane that is in range, by the definition.
void ForEachEntry(const Array& indices, const Array& indptr, const Sizes& sizes, const Dims& lane,
                  const std::function<void(int64_t, int64_t, int64_t)>& visit) {
  const int64_t first = indices.Lane(lane), pointers = indptr.Lane(lane), entries = indices.Last(), cols = sizes.cols;
  const auto pointer = [&](int64_t row) {
    return indptr.Last() == 0 ? row * (entries / sizes.rows) : std::clamp<int64_t>(indptr.Index(pointers + row), 0, entries);
  };
  for (int64_t row = 0; row < sizes.rows; ++row) {
    const int64_t begin = pointer(row), end = pointer(row + 1);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t column = indices.Index(first + k);
      if (column >= 0 && column < cols) visit(row, column, k);
    }
  }
}

enum class Op { kScatter, kGather, kSddmm, kCoo, kDense, kDenseTransposed };

// A call, with what it must give where structure says it.
struct Case {
  Op op;
  std::vector<std::unique_ptr<Array>> operands;
  std::unique_ptr<Array> expected;
  bool known = true;  // a row whose pointers fall shares entries with others, and then sddmm may count them once or more often

  Handler handler() const {
    constexpr Handler kHandlers[] = {spikax_scatter_cpu, spikax_gather_cpu, spikax_sddmm_cpu, spikax_coo_cpu, spikax_dense_cpu};
    return kHandlers[std::min<size_t>(static_cast<size_t>(op), 4)];
  }
  std::vector<const Array*> inputs() const {
    std::vector<const Array*> all;
    for (const auto& operand : operands) all.push_back(operand.get());
    return all;
  }
  std::unique_ptr<Array> Run(Pool& pool) const {
    auto result = std::make_unique<Array>(expected->dtype, expected->dims);
    if (!Call(handler(), pool, inputs(), *result, op == Op::kDenseTransposed)) Fail("a handler refused a call that fits");
    return result;
  }
  void Check(const Array& result) const {
    if (!known) return;
    for (int64_t i = 0; i < result.size; ++i) {
      if (result.Get(i) != expected->Get(i)) Fail("a result differs from the definition");
    }
  }
};

Case Product(Random& random, Op op, const Sizes& sizes, const Dims& lanes, Structure structure) {
  const XLA_FFI_DataType weight = Weight(random);
  const auto index = [&] { return Either(random, XLA_FFI_DataType_S32, XLA_FFI_DataType_S64); };
  const int64_t weights = Draw(random, 0, 1) ? 1 : sizes.entries;
  Case made{op, {}, nullptr};
  auto data = std::make_unique<Array>(weight, Some(random, lanes, weights));
  auto indices = std::make_unique<Array>(index(), Some(random, lanes, sizes.entries));
  auto indptr = std::make_unique<Array>(index(), Some(random, lanes, sizes.Pointers(structure)));
  const int64_t in = op == Op::kScatter ? sizes.rows : sizes.cols, out = op == Op::kScatter ? sizes.cols : sizes.rows;
  auto x = std::make_unique<Array>(Either(random, XLA_FFI_DataType_PRED, weight), Some(random, lanes, in));
  FillValues(random, *data, 0.9);
  FillColumns(random, *indices, sizes.cols, structure != Structure::kMatrix);
  FillPointers(random, *indptr, sizes.entries, structure);
  FillValues(random, *x, sizes.active);

  const Dims full = Broadcast({data.get(), indices.get(), indptr.get(), x.get()});
  Dims dims = full;
  dims.push_back(out);
  made.expected = std::make_unique<Array>(weight, dims);
  std::vector<double> sums(made.expected->size, 0.0);
  ForEachLane(full, [&](const Dims& lane) {
    ForEachEntry(*indices, *indptr, sizes, lane, [&](int64_t row, int64_t column, int64_t k) {
      const double event = x->Get(x->Lane(lane) + (op == Op::kScatter ? row : column));
      const double w = data->Get(data->Lane(lane) + (weights == 1 ? 0 : k));
      sums[made.expected->Lane(lane) + (op == Op::kScatter ? column : row)] += w * event;
    });
  });
  for (int64_t i = 0; i < made.expected->size; ++i) made.expected->Set(i, sums[i]);
  for (auto* operand : {&data, &indices, &indptr, &x}) made.operands.push_back(std::move(*operand));
  return made;
}

Case Sampled(Random& random, const Sizes& sizes, const Dims& lanes, Structure structure) {
  const XLA_FFI_DataType weight = Weight(random);
  const auto index = [&] { return Either(random, XLA_FFI_DataType_S32, XLA_FFI_DataType_S64); };
  Case made{Op::kSddmm, {}, nullptr};
  made.known = structure == Structure::kMatrix || structure == Structure::kWildColumns ||
               structure == Structure::kEqualRows || structure == Structure::kTooLong;
  auto y = std::make_unique<Array>(Either(random, XLA_FFI_DataType_PRED, weight), Some(random, lanes, sizes.rows));
  auto x = std::make_unique<Array>(Either(random, XLA_FFI_DataType_PRED, weight), Some(random, lanes, sizes.cols));
  auto indices = std::make_unique<Array>(index(), Some(random, lanes, sizes.entries));
  auto indptr = std::make_unique<Array>(index(), Some(random, lanes, sizes.Pointers(structure)));
  FillValues(random, *y, sizes.active);
  FillValues(random, *x, sizes.active);
  FillColumns(random, *indices, sizes.cols, structure != Structure::kMatrix);
  FillPointers(random, *indptr, sizes.entries, structure);

  const Dims full = Broadcast({y.get(), x.get(), indices.get(), indptr.get()});
  made.expected = std::make_unique<Array>(weight, Some(random, full, sizes.entries));
  std::vector<double> sums(made.expected->size, 0.0);
  ForEachLane(full, [&](const Dims& lane) {
    ForEachEntry(*indices, *indptr, sizes, lane, [&](int64_t row, int64_t column, int64_t k) {
      sums[made.expected->Lane(lane) + k] += y->Get(y->Lane(lane) + row) * x->Get(x->Lane(lane) + column);
    });
  });
  for (int64_t i = 0; i < made.expected->size; ++i) made.expected->Set(i, sums[i]);
  for (auto* operand : {&y, &x, &indices, &indptr}) made.operands.push_back(std::move(*operand));
  return made;
}

// Entries in any order; of structures there are only columns, and rows, that are in range or not.
Case Coordinates(Random& random, const Sizes& sizes, const Dims& lanes, Structure structure) {
  const XLA_FFI_DataType weight = Weight(random), index = Either(random, XLA_FFI_DataType_S32, XLA_FFI_DataType_S64);
  const int64_t weights = Draw(random, 0, 1) ? 1 : sizes.entries;
  Case made{Op::kCoo, {}, nullptr};
  auto data = std::make_unique<Array>(weight, Some(random, lanes, weights));
  auto row = std::make_unique<Array>(index, Some(random, lanes, sizes.entries));
  auto col = std::make_unique<Array>(index, Some(random, lanes, sizes.entries));
  auto x = std::make_unique<Array>(Either(random, XLA_FFI_DataType_PRED, weight), Some(random, lanes, sizes.rows));
  FillValues(random, *data, 0.9);
  FillColumns(random, *row, sizes.rows, structure != Structure::kMatrix);
  FillColumns(random, *col, sizes.cols, structure != Structure::kMatrix);
  FillValues(random, *x, sizes.active);

  const Dims full = Broadcast({data.get(), row.get(), col.get(), x.get()});
  Dims dims = full;
  dims.push_back(sizes.cols);
  made.expected = std::make_unique<Array>(weight, dims);
  std::vector<double> sums(made.expected->size, 0.0);
  ForEachLane(full, [&](const Dims& lane) {
    for (int64_t k = 0; k < sizes.entries; ++k) {
      const int64_t i = row->Index(row->Lane(lane) + k), j = col->Index(col->Lane(lane) + k);
      if (i < 0 || i >= sizes.rows || j < 0 || j >= sizes.cols) continue;
      sums[made.expected->Lane(lane) + j] += data->Get(data->Lane(lane) + (weights == 1 ? 0 : k)) * x->Get(x->Lane(lane) + i);
    }
  });
  for (int64_t i = 0; i < made.expected->size; ++i) made.expected->Set(i, sums[i]);
  for (auto* operand : {&data, &row, &col, &x}) made.operands.push_back(std::move(*operand));
  return made;
}

// A matrix that is small enough to be dense.
Case Full(Random& random, Op op, const Sizes& sizes, const Dims& lanes) {
  const int64_t rows = std::min<int64_t>(sizes.rows, 2000), cols = std::min<int64_t>(sizes.cols, 1500), in = op == Op::kDense ? rows : cols;
  const XLA_FFI_DataType weight = Weight(random);
  Case made{op, {}, nullptr};
  Dims matrix = Some(random, lanes, rows);
  matrix.push_back(cols);
  auto weights = std::make_unique<Array>(weight, matrix);
  auto x = std::make_unique<Array>(Either(random, XLA_FFI_DataType_PRED, weight), Some(random, lanes, in));
  FillValues(random, *weights, 0.9);
  FillValues(random, *x, sizes.active);

  Dims full = lanes;
  for (size_t i = 0; i < full.size(); ++i) full[i] = weights->dims[i] == 1 ? x->dims[i] : weights->dims[i];
  Dims dims = full;
  dims.push_back(op == Op::kDense ? cols : rows);
  made.expected = std::make_unique<Array>(weight, dims);
  std::vector<double> sums(made.expected->size, 0.0);
  ForEachLane(full, [&](const Dims& lane) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        const double event = x->Get(x->Lane(lane) + (op == Op::kDense ? i : j));
        sums[made.expected->Lane(lane) + (op == Op::kDense ? j : i)] += weights->Get(weights->Lane(lane) + i * cols + j) * event;
      }
    }
  });
  for (int64_t i = 0; i < made.expected->size; ++i) made.expected->Set(i, sums[i]);
  for (auto* operand : {&weights, &x}) made.operands.push_back(std::move(*operand));
  return made;
}

Case Make(Random& random, Op op, const Sizes& any, const Dims& lanes, Structure structure) {
  const Sizes sizes = any.For(structure);
  if (op == Op::kCoo) return Coordinates(random, sizes, lanes, structure);
  if (op == Op::kDense || op == Op::kDenseTransposed) return Full(random, op, sizes, lanes);
  return op == Op::kSddmm ? Sampled(random, sizes, lanes, structure) : Product(random, op, sizes, lanes, structure);
}

constexpr Op kOps[] = {Op::kScatter, Op::kGather, Op::kSddmm, Op::kCoo, Op::kDense, Op::kDenseTransposed};
const Sizes kSmall[] = {{0, 5, 9, 1.0}, {5, 0, 9, 1.0}, {5, 4, 0, 0.5}, {1, 1, 1, 1.0},   {7, 5, 1, 0.5},
                        {9, 8, 40, 0.0}, {9, 8, 40, 0.5}, {64, 65, 700, 0.2}, {300, 97, 3000, 0.3}};
const Dims kLanes[] = {{}, {1}, {3}, {0}, {2, 3}, {19}};
// Enough work for every kernel to share it among threads: events, rows, entries and lanes.
const Sizes kLarge[] = {{40, 30, 300000, 1.0}, {20000, 70000, 300000, 0.9}, {50, 5000000, 1500000, 1.0}};

// ---- What is checked.

void SmallCases(int rounds) {
  Random random(1);
  Pool one(1), four(4);
  for (int round = 0; round < rounds; ++round) {
    for (Op op : kOps) {
      for (const Sizes& sizes : kSmall) {
        for (const Dims& lanes : kLanes) {
          for (Structure structure : kStructures) {
            const Case made = Make(random, op, sizes, lanes, structure);
            made.Check(*made.Run(one));
            made.Check(*made.Run(four));
          }
        }
      }
    }
  }
}

void LargeCasesGiveTheSameBitsOnAnyPool() {
  Random random(2);
  Pool none(0), one(1), two(2), five(5);
  for (Op op : kOps) {
    for (const Sizes& sizes : kLarge) {
      for (Structure structure : kStructures) {
        if (sizes.cols > 1000000 && op != Op::kScatter) continue;  // which alone has another way for such results
        // A sawtooth repeats all entries every other row, so it is only run where rows are few.
        if (structure == Structure::kSawtooth && sizes.rows > 100) continue;
        if (structure == Structure::kWild && sizes.rows > 100) continue;
        if ((op == Op::kDense || op == Op::kDenseTransposed) && structure != Structure::kMatrix) continue;
        const Case made = Make(random, op, sizes, structure == Structure::kMatrix ? Dims{2} : Dims{}, structure);
        const auto first = made.Run(none);
        made.Check(*first);
        for (Pool* pool : {&one, &two, &five}) {
          const auto again = made.Run(*pool);
          if (first->size && std::memcmp(first->bytes.get(), again->bytes.get(), first->size * first->Width()) != 0)
            Fail("a result depends on the number of threads");
        }
      }
    }
  }
}

// XLA runs handlers on threads of the very pool that they get, so every thread of it may be inside one.
void ManyCallersShareOnePool(int threads) {
  Random random(3);
  std::vector<Case> cases;
  for (Op op : kOps) {
    cases.push_back(Make(random, op, {40, 30, 150000, 1.0}, {}, Structure::kMatrix));
    cases.push_back(Make(random, op, {300, 97, 3000, 0.5}, {16}, Structure::kWildColumns));
  }
  Pool pool(threads);
  const auto run = [&pool](const Case& made) { made.Check(*made.Run(pool)); };
  std::vector<std::future<void>> waiting;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] { for (const Case& made : cases) run(made); });
    for (const Case& made : cases) {
      auto task = std::make_shared<std::packaged_task<void()>>([&run, &made] { run(made); });
      waiting.push_back(task->get_future());
      pool.Schedule([task] { (*task)(); });
    }
  }
  for (std::thread& caller : callers) caller.join();
  for (std::future<void>& one : waiting) one.get();
}

// Operands that do not fit are refused; nothing is read or written.
void MisfitsAreRefused() {
  Pool pool(1);
  constexpr XLA_FFI_DataType f32 = XLA_FFI_DataType_F32, f64 = XLA_FFI_DataType_F64, s32 = XLA_FFI_DataType_S32;
  constexpr XLA_FFI_DataType s64 = XLA_FFI_DataType_S64;
  constexpr XLA_FFI_DataType pred = XLA_FFI_DataType_PRED, f8 = XLA_FFI_DataType_F8E4M3FN;
  struct Type {
    XLA_FFI_DataType dtype;
    Dims dims;
  };
  const auto refused = [&pool](Handler handler, const std::vector<Type>& operands, const Type& result) {
    std::vector<std::unique_ptr<Array>> arrays;
    std::vector<const Array*> inputs;
    for (const Type& type : operands) {
      arrays.push_back(std::make_unique<Array>(type.dtype, type.dims));
      std::fill_n(arrays.back()->bytes.get(), arrays.back()->size * arrays.back()->Width(), 0);
      inputs.push_back(arrays.back().get());
    }
    Array out(result.dtype, result.dims);
    return !Call(handler, pool, inputs, out);
  };
  // Of a matrix of 2 rows and 3 columns with 4 entries.
  const std::vector<Type> good{{f32, {4}}, {s32, {4}}, {s32, {3}}, {pred, {2}}}, outer{{f32, {2}}, {f32, {3}}, {s32, {4}}, {s32, {3}}};
  if (refused(spikax_scatter_cpu, good, {f32, {3}}) || refused(spikax_sddmm_cpu, outer, {f32, {4}})) Fail("a call that fits");
  struct Misfit {
    size_t operand;
    Type type;
  };
  for (const Misfit& misfit : std::vector<Misfit>{
           {0, {f32, {3}}}, {0, {f8, {4}}}, {0, {f64, {4}}}, {0, {f32, {2, 4}}}, {1, {s32, {5}}}, {1, {f32, {4}}}, {2, {s32, {4}}},
           {2, {s32, {2}}}, {2, {pred, {3}}}, {3, {pred, {3}}}, {3, {f64, {2}}}, {3, {s32, {2}}}, {3, {pred, {}}}, {0, {f32, {}}}}) {
    std::vector<Type> operands = good;
    operands[misfit.operand] = misfit.type;
    if (!refused(spikax_scatter_cpu, operands, {f32, {3}})) Fail("scatter took what does not fit");
  }
  if (!refused(spikax_scatter_cpu, good, {f64, {3}}) || !refused(spikax_scatter_cpu, good, {f32, {2, 3}})) Fail("a wrong result");
  if (!refused(spikax_gather_cpu, {{f32, {4}}, {s32, {4}}, {s32, {3}}, {pred, {3}}}, {f32, {3}})) Fail("gather took a wrong result");
  if (!refused(spikax_sddmm_cpu, outer, {f32, {5}})) Fail("sddmm took a wrong result");
  if (!refused(spikax_sddmm_cpu, outer, {f64, {4}})) Fail("sddmm took a result of another dtype");
  // Without pointers, the entries must divide among the rows.
  const std::vector<Type> equal{{f32, {4}}, {s32, {4}}, {s32, {0}}, {pred, {2}}}, uneven{{f32, {1}}, {s32, {4}}, {s32, {0}}, {pred, {3}}};
  if (refused(spikax_scatter_cpu, equal, {f32, {3}}) || !refused(spikax_scatter_cpu, uneven, {f32, {3}})) Fail("rows of one length");
  const std::vector<Type> pairs{{f32, {4}}, {s32, {4}}, {s32, {4}}, {pred, {2}}}, matrix{{f32, {2, 3}}, {pred, {2}}};
  if (refused(spikax_coo_cpu, pairs, {f32, {3}}) || refused(spikax_dense_cpu, matrix, {f32, {3}})) Fail("a call that fits");
  for (const Misfit& misfit : std::vector<Misfit>{{0, {f32, {3}}}, {1, {s32, {5}}}, {2, {s32, {3}}}, {2, {s64, {4}}}, {3, {f64, {2}}}}) {
    std::vector<Type> operands = pairs;
    operands[misfit.operand] = misfit.type;
    if (!refused(spikax_coo_cpu, operands, {f32, {3}})) Fail("coo took what does not fit");
  }
  for (const Misfit& misfit : std::vector<Misfit>{{0, {f32, {3}}}, {0, {f32, {3, 3}}}, {0, {f32, {2, 2}}}, {0, {f32, {1, 2, 3}}},
                                                  {1, {pred, {3}}}, {1, {f64, {2}}}, {1, {pred, {}}}}) {
    std::vector<Type> operands = matrix;
    operands[misfit.operand] = misfit.type;
    if (!refused(spikax_dense_cpu, operands, {f32, {3}})) Fail("dense took what does not fit");
  }
  const std::vector<Type> lanes{{f32, {2, 4}}, {s32, {3, 4}}, {s32, {1, 3}}, {pred, {1, 2}}};
  if (!refused(spikax_scatter_cpu, lanes, {f32, {3, 3}})) Fail("scatter took lanes that do not broadcast");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  MisfitsAreRefused();
  SmallCases(rounds);
  LargeCasesGiveTheSameBitsOnAnyPool();
  for (int threads : {1, 2, 4}) ManyCallersShareOnePool(threads);
  std::puts("every result is right");
}
