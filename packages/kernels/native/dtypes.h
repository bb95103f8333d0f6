// From the dtypes that XLA names at run time to the types that templates take: the one place that lists what is compiled.
#pragma once

#include <cstdint>
#include <new>

#include "half.h"
#include "xla/ffi/api/ffi.h"

namespace spikax {

namespace ffi = xla::ffi;

template <typename T>
struct Type {
  using type = T;
};

// These give what visit(Type<T>{}) gives for the dtype at hand, or an error for a dtype that is not compiled.

template <typename Visit>
ffi::Error VisitWeight(ffi::DataType dtype, Visit&& visit) {
  if (dtype == ffi::F32) return visit(Type<float>{});
  if (dtype == ffi::F64) return visit(Type<double>{});
  if (dtype == ffi::F16) return visit(Type<Half>{});
  if (dtype == ffi::BF16) return visit(Type<BFloat16>{});
  return ffi::Error::InvalidArgument("weights must be float16, bfloat16, float32 or float64");
}

template <typename Visit>
ffi::Error VisitIndex(ffi::DataType dtype, Visit&& visit) {
  if (dtype == ffi::S32) return visit(Type<int32_t>{});
  if (dtype == ffi::S64) return visit(Type<int64_t>{});
  return ffi::Error::InvalidArgument("indices must be int32 or int64");
}

// Events are bool, a byte each, or have the dtype of the weights, whose type is T.
template <typename T, typename Visit>
ffi::Error VisitEvents(ffi::DataType weights, ffi::DataType dtype, Visit&& visit) {
  if (dtype == ffi::PRED) return visit(Type<uint8_t>{});
  if (dtype == weights) return visit(Type<T>{});
  return ffi::Error::InvalidArgument("events must be bool or have the dtype of the weights");
}

// Gives what run(weight, event) gives for the two dtypes of a dense product; a lack of memory becomes an error.
template <typename Run>
ffi::Error Dispatch(ffi::DataType weights, ffi::DataType events, Run&& run) {
  return VisitWeight(weights, [&](auto weight) {
    return VisitEvents<typename decltype(weight)::type>(weights, events, [&](auto event) -> ffi::Error {
      try {
        return run(weight, event);
      } catch (const std::bad_alloc&) {
        return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory");
      }
    });
  });
}

// The same of run(weight, index, event), for the three dtypes of a sparse product.
template <typename Run>
ffi::Error Dispatch(ffi::DataType weights, ffi::DataType indices, ffi::DataType events, Run&& run) {
  return VisitIndex(indices, [&](auto index) {
    return Dispatch(weights, events, [&](auto weight, auto event) { return run(weight, index, event); });
  });
}

}  // namespace spikax

// Makes a handler that Python finds in the library by its name.
#define SPIKAX_HANDLER(name, function, binding)                                              \
  extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function, binding)
