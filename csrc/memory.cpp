#include "fit.h"  // llama.cpp's common

#include "guard.hpp"
#include "handles.hpp"

#include "json.h"

#include <algorithm>
#include <mutex>

namespace {

constexpr size_t margin_bytes = size_t{1} << 30;  // what llama.cpp's own tools leave free on a GPU
constexpr uint32_t n_ctx_fitted_max = 1U << 20;   // measuring allocates a table of 40 bytes a cell

// llama.cpp swaps its global log handler while it measures.
std::mutex measuring;

bool has_gpu() {
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        const enum ggml_backend_dev_type type = ggml_backend_dev_type(ggml_backend_dev_get(i));
        if (type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU) {
            return true;
        }
    }
    return false;
}

void leave_gpu_alone(llama_model_params &native) {
    static ggml_backend_dev_t no_devices[] = {nullptr};
    native.n_gpu_layers = 0;
    native.devices = no_devices;
    native.tensor_split = nullptr;
    native.tensor_buft_overrides = nullptr;
}

void fit_layers(const char *path, const hsk_context_params &context, hsk::ModelParams &params) {
    params.tensor_split.resize(llama_max_devices());
    params.overrides.resize(llama_max_tensor_buft_overrides());
    std::vector<size_t> margins(llama_max_devices(), margin_bytes);
    llama_context_params native = hsk::native_params(context);
    native.n_ctx = std::min(native.n_ctx, n_ctx_fitted_max);

    const std::lock_guard<std::mutex> lock(measuring);
    const common_params_fit_status status =
        common_fit_params(path, &params.native, &native, params.tensor_split.data(), params.overrides.data(), margins.data(),
                          native.n_ctx, nullptr, GGML_LOG_LEVEL_NONE);
    // With an error the file is no model: loading it says so.
    if (status == COMMON_PARAMS_FIT_STATUS_FAILURE || params.native.n_gpu_layers == 0) {
        leave_gpu_alone(params.native);
    }
}

}  // namespace

namespace hsk {

ModelParams native_params(const char *path, const hsk_model_params &params) {
    ModelParams result{llama_model_default_params(), {}, {}};
    llama_model_params &native = result.native;
    native.n_gpu_layers = params.n_gpu_layers;
    native.load_mode = params.use_mmap != 0 ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
    native.vocab_only = params.vocab_only != 0;
    native.no_alloc = params.no_weights != 0;
    if (native.no_alloc) {
        native.load_mode = LLAMA_LOAD_MODE_NONE;
    }
    native.check_tensors = params.check_tensors != 0;
    if (native.vocab_only || native.no_alloc || native.n_gpu_layers == 0) {
        leave_gpu_alone(native);
    } else if (params.fits_layers != 0 && native.n_gpu_layers < 0 && has_gpu()) {
        fit_layers(path, params.fit, result);
    }
    return result;
}

}  // namespace hsk

int32_t hsk_memory_estimate_get(const char *path, const hsk_model_params *model_params, const hsk_context_params *params,
                                hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::init_backend();
        const hsk::ModelParams fitted = hsk::native_params(path, *model_params);
        const llama_context_params native = hsk::native_params(*params);
        const std::lock_guard<std::mutex> lock(measuring);
        std::vector<ggml_backend_dev_t> devices;
        uint32_t n_layer = 0;
        uint32_t n_ctx_train = 0;
        uint32_t n_expert = 0;
        const auto memory = common_get_device_memory_data(path, &fitted.native, &native, devices, n_layer, n_ctx_train, n_expert,
                                                          GGML_LOG_LEVEL_NONE);
        common_json list = common_json::array();
        for (size_t i = 0; i < memory.size(); i++) {
            list.push_back(common_json{{"name", i < devices.size() ? ggml_backend_dev_name(devices[i]) : "host"},
                                       {"free_bytes", memory[i].free},
                                       {"total_bytes", memory[i].total},
                                       {"model_bytes", memory[i].model},
                                       {"context_bytes", memory[i].context},
                                       {"compute_bytes", memory[i].compute}});
        }
        hsk::give(out, list.dump_safe());
    });
}
