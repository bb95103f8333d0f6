// A library that stands in for the CUDA driver on machines without one: it writes each call to standard output, a line each, and does
// nothing. The names are the driver's own, the numbers those of the CUDA Driver API reference.
//
// Environment variables say how it behaves: STAND_IN_DEVICE is the device's compute capability and number of multiprocessors,
// STAND_IN_BLOCKS how many blocks a multiprocessor runs at once, and STAND_IN_FAILS a function and the error that it ends with.
//
// The real driver reads from a kernel's code how large its arguments are. Here a kernel's name says it: add_8_4 has one argument of 8
// bytes and one of 4.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kInvalidValue = 1, kInvalidDevice = 101, kInvalidContext = 201;
constexpr int kDevices = 2;
constexpr uintptr_t kContexts = 0xc0;  // the handle of the first device's context

std::string Variable(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

// The error that a function is to end with, else `result`. All is written at once: threads write to one file, and a lock here would
// order what the launcher has to order itself.
template <typename... Parts>
int Called(int result, const std::string& function, const Parts&... parts) {
  std::istringstream fails(Variable("STAND_IN_FAILS", ""));
  std::string which;
  int error;
  if (fails >> which >> error && which == function) result = error;
  std::ostringstream line;
  line << function;
  ((line << ' ' << parts), ...);
  line << '\n';
  return write(STDOUT_FILENO, line.str().data(), line.str().size()) < 0 ? kInvalidValue : result;
}

template <typename T>
std::string Hex(T handle) {
  std::ostringstream text;
  text << "0x" << std::hex << (uintptr_t)handle;
  return text.str();
}

std::vector<uintptr_t>& Contexts() {
  static thread_local std::vector<uintptr_t> stack;
  return stack;
}

int InContext() { return Contexts().empty() ? kInvalidContext : 0; }

std::string Bytes(const void* value, int count) {
  std::ostringstream text;
  for (int i = 0; i < count; ++i) text << std::hex << std::setw(2) << std::setfill('0') << int{static_cast<const uint8_t*>(value)[i]};
  return text.str();
}

}  // namespace

extern "C" {

int cuInit(unsigned flags) { return Called(0, "cuInit", flags); }

int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return Called(ordinal < 0 || ordinal >= kDevices ? kInvalidDevice : 0, "cuDeviceGet", ordinal);
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  std::istringstream numbers(Variable("STAND_IN_DEVICE", "90 4"));
  int capability, multiprocessors;
  numbers >> capability >> multiprocessors;
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? multiprocessors : -1;
  return Called(0, "cuDeviceGetAttribute", attribute, device);
}

int cuDevicePrimaryCtxRetain(uintptr_t* context, int device) {
  *context = kContexts + device;
  return Called(0, "cuDevicePrimaryCtxRetain", device);
}

int cuCtxPushCurrent_v2(uintptr_t context) {
  const int result = Called(0, "cuCtxPushCurrent_v2", Hex(context));
  if (result == 0) Contexts().push_back(context);
  return result;
}

int cuCtxPopCurrent_v2(uintptr_t* context) {
  if (InContext() != 0) return Called(kInvalidContext, "cuCtxPopCurrent_v2");
  *context = Contexts().back();
  Contexts().pop_back();
  return Called(0, "cuCtxPopCurrent_v2", Hex(*context));
}

// An image is known by its first number.
int cuModuleLoadData(uintptr_t* module, const void* image) {
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // so that threads meet here
  int64_t first;
  std::memcpy(&first, image, sizeof first);
  *module = static_cast<uintptr_t>(first);
  return Called(InContext(), "cuModuleLoadData", first);
}

int cuModuleGetFunction(const std::string** function, uintptr_t module, const char* name) {
  static std::mutex mutex;
  static auto& names = *new std::set<std::string>;  // for as long as the process lives, as modules do
  {
    std::lock_guard<std::mutex> lock(mutex);
    *function = &*names.insert(name).first;
  }
  return Called(InContext(), "cuModuleGetFunction", module, name);
}

// This is no launch, load or wait, so the tests of these need not see it.
int cuFuncGetParamInfo(const std::string* function, size_t argument, size_t* offset, size_t* bytes) {
  if (Variable("STAND_IN_FAILS", "") == "cuFuncGetParamInfo 801") return 801;
  std::istringstream name(*function);
  std::string part;
  std::getline(name, part, '_');
  *offset = 0;
  for (size_t i = 0; std::getline(name, part, '_'); ++i) {
    *bytes = std::stoul(part);
    if (i == argument) return 0;
    *offset += *bytes;
  }
  return kInvalidValue;
}

int cuFuncSetAttribute(const std::string* function, int attribute, int value) {
  return Called(InContext(), "cuFuncSetAttribute", *function, attribute, value);
}

int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const std::string* function, int threads, size_t shared) {
  *blocks = std::stoi(Variable("STAND_IN_BLOCKS", "2"));
  return Called(InContext(), "cuOccupancyMaxActiveBlocksPerMultiprocessor", *function, threads, shared);
}

int cuLaunchKernel(const std::string* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void* stream, void** arguments, void** extra) {
  std::ostringstream text;
  std::istringstream name(*function);
  std::string part;
  std::getline(name, part, '_');
  for (size_t i = 0; std::getline(name, part, '_'); ++i) text << ' ' << Bytes(arguments[i], std::stoi(part));
  return Called(extra == nullptr ? InContext() : kInvalidValue, "cuLaunchKernel", *function, "grid", grid_x, grid_y, grid_z, "block", block_x,
                block_y, block_z, "shared", shared, "stream", Hex(stream), "arguments" + text.str());
}

int cuMemsetD8Async(unsigned long long address, unsigned char byte, size_t bytes, void* stream) {
  return Called(InContext(), "cuMemsetD8Async", Hex(address), int{byte}, bytes, "stream", Hex(stream));
}

int cuGetErrorString(int result, const char** text) {
  if (result == 999) return *text = nullptr, kInvalidValue;  // a number that a driver does not know
  static thread_local std::string kept;
  kept = "what error " + std::to_string(result) + " means";
  *text = kept.c_str();
  return 0;
}

}  // extern "C"
