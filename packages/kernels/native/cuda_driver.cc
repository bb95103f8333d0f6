#include "cuda_driver.h"

#include <dlfcn.h>

namespace spikax {
namespace {

struct Opened {
  Driver driver{};
  std::string why;

  Opened() {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == nullptr) {
      why = std::string("the CUDA driver cannot be opened: ") + dlerror();
      return;
    }
    // What a name with a number stands for is in cuda.h; the plain name is an older function.
    Find(library, "cuInit", driver.Init);
    Find(library, "cuDeviceGet", driver.DeviceGet);
    Find(library, "cuDeviceGetAttribute", driver.DeviceGetAttribute);
    Find(library, "cuDevicePrimaryCtxRetain", driver.PrimaryContextRetain);
    Find(library, "cuCtxPushCurrent_v2", driver.ContextPush);
    Find(library, "cuCtxPopCurrent_v2", driver.ContextPop);
    Find(library, "cuModuleLoadData", driver.ModuleLoad);
    Find(library, "cuModuleGetFunction", driver.ModuleGetFunction);
    Find(library, "cuFuncSetAttribute", driver.FunctionSetAttribute);
    Find(library, "cuOccupancyMaxActiveBlocksPerMultiprocessor", driver.Occupancy);
    Find(library, "cuLaunchKernel", driver.Launch);
    Find(library, "cuMemsetD8Async", driver.Fill);
    Find(library, "cuGetErrorString", driver.ErrorString);
    driver.FunctionArgument = reinterpret_cast<decltype(driver.FunctionArgument)>(dlsym(library, "cuFuncGetParamInfo"));
    if (!why.empty()) return;
    if (const Driver::Result result = driver.Init(0); result != 0) why = "the CUDA driver does not start: " + driver.Explain(result);
  }

  template <typename Function>
  void Find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr && why.empty()) why = std::string("the CUDA driver is too old: it has no ") + name;
  }
};

}  // namespace

const Driver* Driver::Get(std::string* why) {
  static const Opened opened;
  *why = opened.why;
  return opened.why.empty() ? &opened.driver : nullptr;
}

std::string Driver::Explain(Result result) const {
  const char* text = nullptr;
  if (ErrorString(result, &text) != 0 || text == nullptr) text = "unknown error";
  return std::string(text) + " (CUDA error " + std::to_string(result) + ")";
}

}  // namespace spikax
