// Runs CUDA kernels on XLA's stream. What is launched, and how, was decided in Python when the program was compiled, and comes as
// attributes: machine code, the names of its functions, and a list of steps. So there is no Python in the launch path, and a compiled
// program has all that it needs when it is stored and loaded again.
//
// XLA calls the `initialize` stage before it captures a CUDA graph: code is loaded there, which a capture does not allow.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <tuple>
#include <vector>

#include "cuda_driver.h"
#include "xla/ffi/api/ffi.h"

namespace spikax {
namespace {

namespace ffi = xla::ffi;

using Numbers = ffi::Span<const int64_t>;

// The attributes of a call.
struct Program {
  Numbers key;            // two numbers that no other machine code and functions have
  Numbers architectures;  // 90 for compute capability 9.0, ascending
  Numbers sizes;          // bytes of machine code for each of these
  Numbers images;         // that code, each padded to whole numbers
  std::string_view functions;  // names, a space between
  Numbers steps;          // see Run
  Numbers values;         // the bytes of arguments that are no buffers
};

constexpr size_t kMaxArguments = 64;

// Machine code on a device.
struct Loaded {
  struct Function {
    std::string name;
    Driver::Function function;
    bool known;                  // whether the driver says what it is called with:
    std::vector<size_t> bytes;  // of each argument
  };
  std::vector<Function> functions;
  Driver::Context context;
  int multiprocessors;
};

// Makes the context of a device current, which XLA's threads need not have done, for as long as this lives.
class Current {
 public:
  Current(const Driver& driver, Driver::Context context) : driver_(driver), result_(driver.ContextPush(context)) {}
  ~Current() {
    Driver::Context context;
    if (result_ == 0) driver_.ContextPop(&context);
  }
  Driver::Result result() const { return result_; }

 private:
  const Driver& driver_;
  const Driver::Result result_;
};

ffi::Error Failed(const Driver& driver, Driver::Result result, const std::string& what) {
  return ffi::Error::Internal("spikax_kernels: " + what + ": " + driver.Explain(result));
}

ffi::Error Malformed() { return ffi::Error::InvalidArgument("spikax_kernels: the steps of a launch are malformed"); }

ffi::Error Load(const Driver& driver, int ordinal, const Program& program, Loaded* loaded) {
  Driver::Device device;
  int major, minor;
  Driver::Result result = driver.DeviceGet(&device, ordinal);
  if (result == 0) result = driver.DeviceGetAttribute(&major, Driver::kMajor, device);
  if (result == 0) result = driver.DeviceGetAttribute(&minor, Driver::kMinor, device);
  if (result == 0) result = driver.DeviceGetAttribute(&loaded->multiprocessors, Driver::kMultiprocessors, device);
  // Retained for as long as the process lives, as the code is.
  if (result == 0) result = driver.PrimaryContextRetain(&loaded->context, device);
  if (result != 0) return Failed(driver, result, "device " + std::to_string(ordinal));

  // Machine code runs on devices of its architecture's major version, and of its minor version or a later one.
  if (program.architectures.size() != program.sizes.size()) return Malformed();
  const int64_t live = 10 * major + minor;
  const int64_t* image = nullptr;
  size_t at = 0;
  for (size_t i = 0; i < program.sizes.size(); ++i) {
    const int64_t architecture = program.architectures[i];
    if (program.sizes[i] <= 0) return Malformed();
    const size_t length = (static_cast<size_t>(program.sizes[i]) + 7) / 8;
    if (length > program.images.size() - at) return Malformed();
    if (architecture / 10 == major && architecture <= live) image = program.images.begin() + at;
    at += length;
  }
  if (image == nullptr) {
    std::ostringstream message;
    message << "spikax_kernels: compiled for sm_";
    for (size_t i = 0; i < program.architectures.size(); ++i) message << (i > 0 ? ", sm_" : "") << program.architectures[i];
    message << ", but device " << ordinal << " is sm_" << live << "; compile the program where it has such a device, or set "
            << "SPIKAX_CUDA_ARCH=" << live;
    return ffi::Error(ffi::ErrorCode::kFailedPrecondition, message.str());
  }

  const Current current(driver, loaded->context);
  if (current.result() != 0) return Failed(driver, current.result(), "device " + std::to_string(ordinal));
  Driver::Module module;
  if (result = driver.ModuleLoad(&module, image); result != 0)
    return Failed(driver, result, "loading the kernels " + std::string(program.functions));
  std::istringstream names{std::string(program.functions)};
  for (std::string name; names >> name;) {
    Driver::Function function;
    if (result = driver.ModuleGetFunction(&function, module, name.c_str()); result != 0)
      return Failed(driver, result, "looking for the kernel " + name);
    loaded->functions.push_back({name, function, false, {}});
    if (driver.FunctionArgument == nullptr) continue;
    // The driver refuses the first argument that there is not, as an invalid value; another error says nothing.
    Loaded::Function& last = loaded->functions.back();
    size_t offset, bytes;
    while ((result = driver.FunctionArgument(function, last.bytes.size(), &offset, &bytes)) == 0 && last.bytes.size() <= kMaxArguments)
      last.bytes.push_back(bytes);
    last.known = result == 0 || result == Driver::kInvalidValue;
  }
  return ffi::Error::Success();
}

// What has been loaded. It stays for as long as the process lives: programs come back.
class Cache {
 public:
  ffi::Error Get(const Driver& driver, int ordinal, const Program& program, const Loaded** loaded) {
    if (program.key.size() != 2) return Malformed();
    const Key key{ordinal, program.key[0], program.key[1]};
    {
      std::shared_lock<std::shared_mutex> lock(mutex_);
      if (const auto found = loaded_.find(key); found != loaded_.end()) return *loaded = found->second.get(), ffi::Error::Success();
    }
    std::unique_lock<std::shared_mutex> lock(mutex_);
    std::unique_ptr<Loaded>& place = loaded_[key];
    if (place == nullptr) {
      auto fresh = std::make_unique<Loaded>();
      if (ffi::Error error = Load(driver, ordinal, program, fresh.get()); error.failure()) return loaded_.erase(key), error;
      place = std::move(fresh);
    }
    *loaded = place.get();
    return ffi::Error::Success();
  }

 private:
  using Key = std::tuple<int, int64_t, int64_t>;
  std::shared_mutex mutex_;
  std::map<Key, std::unique_ptr<Loaded>> loaded_;
};

Cache& Programs() {
  static Cache& cache = *new Cache;  // never destroyed, as the driver may be gone first
  return cache;
}

// The buffers of a call, operands before results.
struct Buffers {
  ffi::RemainingArgs operands;
  ffi::RemainingRets results;

  size_t size() const { return operands.size() + results.size(); }

  bool Get(int64_t i, void** data, size_t* bytes) const {
    if (i < 0 || static_cast<size_t>(i) >= size()) return false;
    const size_t at = static_cast<size_t>(i);
    if (at < operands.size()) return Read(operands.get<ffi::AnyBuffer>(at), data, bytes);
    auto result = results.get<ffi::AnyBuffer>(at - operands.size());
    if (!result.has_value()) return false;
    *data = (*result)->untyped_data(), *bytes = (*result)->size_bytes();
    return true;
  }

 private:
  static bool Read(const ffi::ErrorOr<ffi::AnyBuffer>& buffer, void** data, size_t* bytes) {
    if (!buffer.has_value()) return false;
    *data = buffer->untyped_data(), *bytes = buffer->size_bytes();
    return true;
  }
};

// Reads the numbers of steps one after the other; reading beyond their end gives zeros and is remembered.
class Reader {
 public:
  explicit Reader(Numbers numbers) : numbers_(numbers) {}
  bool done() const { return at_ >= numbers_.size(); }
  bool failed() const { return failed_; }
  int64_t Next() {
    if (!done()) return numbers_[at_++];
    failed_ = true;
    return 0;
  }
  unsigned NextUnsigned() {
    const int64_t number = Next();
    failed_ = failed_ || number < 0 || number > UINT32_MAX;
    return static_cast<unsigned>(number);
  }

 private:
  const Numbers numbers_;
  size_t at_ = 0;
  bool failed_ = false;
};

enum Step : int64_t { kFill = 0, kLaunch = 1 };

// Fill: buffer, byte. Launch: function; grid x, y, z; block x, y, z; bytes of shared memory; whether the grid's x is no larger than what
// the device runs at once; the number of arguments; for each argument, a buffer and -1, or where its value begins and how many bytes it
// has.
class Runner {
 public:
  Runner(const Driver& driver, Driver::Stream stream, const Loaded& loaded, const Program& program, const Buffers& buffers)
      : driver_(driver), stream_(stream), loaded_(loaded), program_(program), buffers_(buffers), steps_(program.steps) {}

  ffi::Error Run() {
    while (!steps_.done()) {
      const int64_t kind = steps_.Next();
      if (kind != kFill && kind != kLaunch) return Malformed();
      if (ffi::Error error = kind == kFill ? Fill() : Launch(); error.failure()) return error;
    }
    return ffi::Error::Success();
  }

 private:
  ffi::Error Fill() {
    const int64_t buffer = steps_.Next(), byte = steps_.Next();
    void* data;
    size_t bytes;
    if (steps_.failed() || byte < 0 || byte > 255 || !buffers_.Get(buffer, &data, &bytes)) return Malformed();
    if (bytes == 0) return ffi::Error::Success();
    const auto result = driver_.Fill(reinterpret_cast<Driver::Address>(data), static_cast<unsigned char>(byte), bytes, stream_);
    return result == 0 ? ffi::Error::Success() : Failed(driver_, result, "filling " + std::to_string(bytes) + " bytes");
  }

  ffi::Error Launch() {
    const unsigned index = steps_.NextUnsigned();
    unsigned size[7];  // grid, block, shared memory
    for (unsigned& each : size) each = steps_.NextUnsigned();
    const bool resident = steps_.Next() != 0;
    const unsigned count = steps_.NextUnsigned();
    if (steps_.failed() || index >= loaded_.functions.size() || count > kMaxArguments) return Malformed();
    void* data[kMaxArguments];
    void* arguments[kMaxArguments];
    std::vector<size_t> given;
    given.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
      const int64_t where = steps_.Next(), bytes = steps_.Next();
      size_t buffer_bytes;
      arguments[i] = &data[i];
      if (bytes == -1) {
        if (!buffers_.Get(where, &data[i], &buffer_bytes)) return Malformed();
      } else {
        const int64_t room = static_cast<int64_t>(program_.values.size() * sizeof(int64_t));
        if (where < 0 || bytes <= 0 || where > room || bytes > room - where) return Malformed();
        arguments[i] = reinterpret_cast<unsigned char*>(const_cast<int64_t*>(program_.values.begin())) + where;
      }
      given.push_back(bytes == -1 ? sizeof(void*) : static_cast<size_t>(bytes));
    }
    if (steps_.failed()) return Malformed();
    const Loaded::Function& kernel = loaded_.functions[index];
    // The driver would read as many and as long arguments as the kernel takes.
    if (kernel.known && given != kernel.bytes) return Unlike(kernel, given);
    // A grid without blocks has nothing to do; the driver would refuse it.
    if (size[0] == 0 || size[1] == 0 || size[2] == 0) return ffi::Error::Success();
    Driver::Result result = 0;
    if (size[6] > kPlainShared) result = driver_.FunctionSetAttribute(kernel.function, Driver::kMaxDynamicShared, static_cast<int>(size[6]));
    if (result == 0 && resident) {
      int blocks = 0;
      result = driver_.Occupancy(&blocks, kernel.function, static_cast<int>(size[3] * size[4] * size[5]), size[6]);
      size[0] = std::min(size[0], static_cast<unsigned>(std::max(blocks, 1) * loaded_.multiprocessors));
    }
    if (result == 0)
      result = driver_.Launch(kernel.function, size[0], size[1], size[2], size[3], size[4], size[5], size[6], stream_, arguments, nullptr);
    if (result == 0) return ffi::Error::Success();
    std::ostringstream what;
    what << "launching " << kernel.name << " with grid " << size[0] << " x " << size[1] << " x " << size[2] << ", block " << size[3] << " x "
         << size[4] << " x " << size[5] << ", " << size[6] << " bytes of shared memory";
    return Failed(driver_, result, what.str());
  }

  static ffi::Error Unlike(const Loaded::Function& kernel, const std::vector<size_t>& given) {
    const auto listed = [](const std::vector<size_t>& all) {
      std::ostringstream text;
      for (size_t i = 0; i < all.size(); ++i) text << (i > 0 ? ", " : "") << all[i];
      return all.empty() ? std::string("no bytes") : text.str() + " bytes";
    };
    return ffi::Error::InvalidArgument("spikax_kernels: launching " + kernel.name + ": got arguments of " + listed(given) +
                                       "; the kernel takes " + listed(kernel.bytes));
  }

  static constexpr unsigned kPlainShared = 48 << 10;  // more has to be asked for

  const Driver& driver_;
  const Driver::Stream stream_;
  const Loaded& loaded_;
  const Program& program_;
  const Buffers buffers_;
  Reader steps_;
};

ffi::Error Find(int ordinal, const Program& program, const Driver** driver, const Loaded** loaded) {
  std::string why;
  *driver = Driver::Get(&why);
  if (*driver == nullptr) return ffi::Error(ffi::ErrorCode::kFailedPrecondition, "spikax_kernels: " + why);
  return Programs().Get(**driver, ordinal, program, loaded);
}

ffi::Error Initialize(int32_t ordinal, ffi::RemainingArgs, ffi::RemainingRets, Numbers key, Numbers architectures, Numbers sizes,
                      Numbers images, std::string_view functions, Numbers steps, Numbers values) {
  const Driver* driver;
  const Loaded* loaded;
  return Find(ordinal, {key, architectures, sizes, images, functions, steps, values}, &driver, &loaded);
}

ffi::Error Execute(Driver::Stream stream, int32_t ordinal, ffi::RemainingArgs operands, ffi::RemainingRets results, Numbers key,
                   Numbers architectures, Numbers sizes, Numbers images, std::string_view functions, Numbers steps, Numbers values) {
  const Program program{key, architectures, sizes, images, functions, steps, values};
  const Driver* driver;
  const Loaded* loaded;
  if (ffi::Error error = Find(ordinal, program, &driver, &loaded); error.failure()) return error;
  const Current current(*driver, loaded->context);
  if (current.result() != 0) return Failed(*driver, current.result(), "device " + std::to_string(ordinal));
  return Runner(*driver, stream, *loaded, program, {operands, results}).Run();
}

template <typename Binding>
auto WithAttributes(Binding binding) {
  return std::move(binding)
      .template Attr<Numbers>("key")
      .template Attr<Numbers>("architectures")
      .template Attr<Numbers>("sizes")
      .template Attr<Numbers>("images")
      .template Attr<std::string_view>("functions")
      .template Attr<Numbers>("steps")
      .template Attr<Numbers>("values");
}

}  // namespace
}  // namespace spikax

extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* spikax_cuda_initialize(XLA_FFI_CallFrame*);
extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* spikax_cuda_execute(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(spikax_cuda_initialize, spikax::Initialize,
                              spikax::WithAttributes(xla::ffi::Ffi::BindInitialize()
                                                         .Ctx<xla::ffi::DeviceOrdinal>()
                                                         .RemainingArgs()
                                                         .RemainingRets()));

XLA_FFI_DEFINE_HANDLER_SYMBOL(spikax_cuda_execute, spikax::Execute,
                              spikax::WithAttributes(xla::ffi::Ffi::Bind()
                                                         .Ctx<xla::ffi::PlatformStream<spikax::Driver::Stream>>()
                                                         .Ctx<xla::ffi::DeviceOrdinal>()
                                                         .RemainingArgs()
                                                         .RemainingRets()),
                              {xla::ffi::Traits::kCmdBufferCompatible});
