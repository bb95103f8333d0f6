// The XLA FFI API that this library was built with. Python compares it with the running jaxlib's before it registers anything:
// a handler newer than the runtime would keep JAX's CPU backend from starting.
#include "xla/ffi/api/c_api.h"

extern "C" __attribute__((visibility("default"))) int spikax_kernels_ffi_api_major() { return XLA_FFI_API_MAJOR; }
extern "C" __attribute__((visibility("default"))) int spikax_kernels_ffi_api_minor() { return XLA_FFI_API_MINOR; }
