// The devices that can compute part of a model.
#pragma once

#include "ggml-backend.h"
#include "json.h"

#include <vector>

namespace hsk {

/// The devices of this machine that have a type.
std::vector<ggml_backend_dev_t> devices_of(enum ggml_backend_dev_type type);

/// The GPUs of this machine that llama.cpp takes when it is not told otherwise: integrated ones only where there are no others.
std::vector<ggml_backend_dev_t> gpus();

/// [{"name", "description", "free_bytes", "total_bytes"}]; it wakes GPUs up.
common_json describe(const std::vector<ggml_backend_dev_t> &devices);

}  // namespace hsk
