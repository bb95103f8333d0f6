// Calls the handlers that launch CUDA kernels as XLA calls them. What they are called with comes from standard input, a line for each
// thing, and stays until another line changes it:
//
//   key 1 2                  an attribute of numbers; also architectures, sizes, images, steps, values
//   functions a b            the attribute of names
//   operands 4096 16 ...     the address and the bytes of each; also results
//   device 1                 the device's number
//   set STAND_IN_FAILS ...   an environment variable
//   execute 8                a call, by so many threads at once; also initialize
//
// For each call it prints "ok", or the error's number and text. Addresses are never those of memory of this program: what touches a
// buffer is ended by the system. Attributes end where their memory ends, for AddressSanitizer to see what reads beyond.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "xla/ffi/api/c_api.h"

extern "C" XLA_FFI_Error* spikax_cuda_initialize(XLA_FFI_CallFrame*);
extern "C" XLA_FFI_Error* spikax_cuda_execute(XLA_FFI_CallFrame*);

struct XLA_FFI_Error {
  std::string message;
  int code;
};

struct XLA_FFI_ExecutionContext {
  int32_t device = 0;
  uintptr_t stream = 0x57;
};

namespace {

using Numbers = std::vector<int64_t>;

const XLA_FFI_Api* Api() {
  static const XLA_FFI_Api api = [] {
    XLA_FFI_Api made{};
    made.struct_size = XLA_FFI_Api_STRUCT_SIZE;
    made.XLA_FFI_Error_Create = [](XLA_FFI_Error_Create_Args* args) { return new XLA_FFI_Error{args->message, args->errc}; };
    made.XLA_FFI_Error_Destroy = [](XLA_FFI_Error_Destroy_Args* args) { delete args->error; };
    made.XLA_FFI_Error_GetMessage = [](XLA_FFI_Error_GetMessage_Args* args) { args->message = args->error->message.c_str(); };
    made.XLA_FFI_Stream_Get = [](XLA_FFI_Stream_Get_Args* args) -> XLA_FFI_Error* {
      args->stream = reinterpret_cast<void*>(args->ctx->stream);
      return nullptr;
    };
    made.XLA_FFI_DeviceOrdinal_Get = [](XLA_FFI_DeviceOrdinal_Get_Args* args) -> XLA_FFI_Error* {
      args->device_ordinal = args->ctx->device;
      return nullptr;
    };
    return made;
  }();
  return &api;
}

struct Call {
  XLA_FFI_ExecutionContext context;
  std::map<std::string, Numbers> attributes;  // in the order that XLA has them in
  std::string functions;
  Numbers operands, results;

  std::string Run(bool execute) {
    std::vector<XLA_FFI_Buffer> buffers = Buffers(operands), outs = Buffers(results);
    std::vector<void*> args, rets, attrs;
    for (XLA_FFI_Buffer& buffer : buffers) args.push_back(&buffer);
    for (XLA_FFI_Buffer& buffer : outs) rets.push_back(&buffer);
    std::vector<XLA_FFI_ArgType> arg_types(args.size(), XLA_FFI_ArgType_BUFFER);
    std::vector<XLA_FFI_RetType> ret_types(rets.size(), XLA_FFI_RetType_BUFFER);

    attributes["functions"];  // in its place among the others
    std::vector<XLA_FFI_AttrType> types;
    std::vector<XLA_FFI_ByteSpan> names;
    std::vector<XLA_FFI_Array> arrays;
    XLA_FFI_ByteSpan text{functions.data(), functions.size()};
    names.reserve(attributes.size()), arrays.reserve(attributes.size());
    std::vector<XLA_FFI_ByteSpan*> name_addresses;
    for (auto& [name, numbers] : attributes) {
      names.push_back({name.data(), name.size()});
      name_addresses.push_back(&names.back());
      arrays.push_back({XLA_FFI_DataType_S64, numbers.size(), numbers.data()});
      const bool is_text = name == "functions";
      types.push_back(is_text ? XLA_FFI_AttrType_STRING : XLA_FFI_AttrType_ARRAY);
      attrs.push_back(is_text ? static_cast<void*>(&text) : &arrays.back());
    }

    XLA_FFI_CallFrame frame{};
    frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
    frame.api = Api();
    frame.ctx = &context;
    frame.stage = execute ? XLA_FFI_ExecutionStage_EXECUTE : XLA_FFI_ExecutionStage_INITIALIZE;
    frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, static_cast<int64_t>(args.size()), arg_types.data(), args.data()};
    frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, static_cast<int64_t>(rets.size()), ret_types.data(), rets.data()};
    const int64_t count = static_cast<int64_t>(attributes.size());
    frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, count, types.data(), name_addresses.data(), attrs.data()};
    const std::unique_ptr<XLA_FFI_Error> error((execute ? spikax_cuda_execute : spikax_cuda_initialize)(&frame));
    return error == nullptr ? "ok\n" : "error " + std::to_string(error->code) + ": " + error->message + "\n";
  }

 private:
  static std::vector<XLA_FFI_Buffer> Buffers(Numbers& numbers) {
    std::vector<XLA_FFI_Buffer> buffers;
    for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
      void* const data = reinterpret_cast<void*>(static_cast<uintptr_t>(numbers[i]));
      buffers.push_back({XLA_FFI_Buffer_STRUCT_SIZE, nullptr, XLA_FFI_DataType_U8, data, 1, &numbers[i + 1]});
    }
    return buffers;
  }
};

void RunAtOnce(const Call& call, bool execute, int count) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([mine = call, execute]() mutable {
      const std::string line = mine.Run(execute);
      if (write(STDOUT_FILENO, line.data(), line.size()) < 0) std::abort();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main() {
  Call call;
  for (std::string line, what; std::getline(std::cin, line);) {
    std::istringstream words(line);
    words >> what >> std::ws;
    std::string rest;
    std::getline(words, rest);
    std::istringstream text(rest);
    if (what == "set") {
      std::string name, value;
      text >> name >> std::ws;
      std::getline(text, value);
      setenv(name.c_str(), value.c_str(), 1);
    } else if (what == "functions") {
      call.functions = rest;
    } else {
      Numbers numbers{std::istream_iterator<int64_t>(text), {}};
      numbers.shrink_to_fit();
      if (what == "execute" || what == "initialize") RunAtOnce(call, what == "execute", static_cast<int>(numbers.at(0)));
      else if (what == "device") call.context.device = static_cast<int32_t>(numbers.at(0));
      else if (what == "operands") call.operands = numbers;
      else if (what == "results") call.results = numbers;
      else call.attributes[what] = numbers;
    }
  }
}
