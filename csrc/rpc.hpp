// Devices of other machines, through llama.cpp's RPC backend.
#pragma once

#include "ggml-backend.h"

#include <string>
#include <string_view>
#include <vector>

namespace hsk {

/// The devices of RPC servers ("host:port,host:port"), then the GPUs that llama.cpp takes by itself. Empty without servers.
///
/// A server that cannot be reached, or speaks another version, ends the process (llama.cpp aborts): look at it first.
std::vector<ggml_backend_dev_t> devices_with(std::string_view rpc_servers);

/// llama.cpp's name of a device, and of one elsewhere the server: "CUDA0", "RPC0 (10.0.0.2:50052)".
std::string device_name(ggml_backend_dev_t device);

}  // namespace hsk
