// The part of the CUDA driver's interface that launches kernels, opened at run time: the library loads on machines without a GPU, and
// is built without CUDA. Names, signatures and numbers are those of the CUDA Driver API reference, version 12.
#pragma once

#include <cstdint>
#include <string>

namespace spikax {

struct Driver {
  using Result = int;  // 0 is success
  static constexpr Result kInvalidValue = 1;
  using Device = int;
  using Address = unsigned long long;
  using Context = struct ContextTag*;
  using Module = struct ModuleTag*;
  using Function = struct FunctionTag*;
  using Stream = struct StreamTag*;

  static constexpr int kMultiprocessors = 16, kMajor = 75, kMinor = 76;  // attributes of a device
  static constexpr int kMaxDynamicShared = 8;                            // an attribute of a function

  Result (*Init)(unsigned);
  Result (*DeviceGet)(Device*, int ordinal);
  Result (*DeviceGetAttribute)(int*, int attribute, Device);
  Result (*PrimaryContextRetain)(Context*, Device);
  Result (*ContextPush)(Context);
  Result (*ContextPop)(Context*);
  Result (*ModuleLoad)(Module*, const void* image);
  Result (*ModuleGetFunction)(Function*, Module, const char* name);
  Result (*FunctionArgument)(Function, size_t argument, size_t* offset, size_t* bytes);  // since CUDA 12.4; null before
  Result (*FunctionSetAttribute)(Function, int attribute, int value);
  Result (*Occupancy)(int* blocks, Function, int threads, size_t shared);
  Result (*Launch)(Function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared, Stream, void** arguments, void** extra);
  Result (*Fill)(Address, unsigned char, size_t, Stream);
  Result (*ErrorString)(Result, const char**);

  // The driver of this machine, or null and why there is none.
  static const Driver* Get(std::string* why);

  // What the driver says of a result.
  std::string Explain(Result result) const;
};

}  // namespace spikax
