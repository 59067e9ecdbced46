#include "fit.h"  // llama.cpp's common

#include "devices.hpp"
#include "guard.hpp"
#include "handles.hpp"
#include "rpc.hpp"

#include "json.h"

#include <algorithm>
#include <mutex>

namespace {

constexpr size_t margin_bytes = size_t{1} << 30;  // what llama.cpp's own tools leave free on a GPU
constexpr uint32_t n_ctx_fitted_max = 1U << 20;   // measuring allocates a table of 40 bytes a cell

// llama.cpp swaps its global log handler while it measures.
std::mutex measuring;

void leave_gpu_alone(llama_model_params &native) {
    static ggml_backend_dev_t no_devices[] = {nullptr};
    native.n_gpu_layers = 0;
    native.devices = no_devices;
    native.split_mode = LLAMA_SPLIT_MODE_LAYER;
    native.tensor_split = nullptr;
    native.tensor_buft_overrides = nullptr;
}

void spread(const hsk_model_params &params, hsk::ModelParams &result) {
    hsk::require(llama_max_devices() == HSK_DEVICES_MAX, "llama.cpp has another limit of devices than csrc");
    hsk::require(params.split_mode == HSK_SPLIT_NONE || params.split_mode == HSK_SPLIT_LAYER ||
                     params.split_mode == HSK_SPLIT_TENSOR,
                 "split_mode is none of hsk_split_mode");
    result.native.split_mode = static_cast<llama_split_mode>(params.split_mode);
    result.native.main_gpu = params.main_gpu;
    const float *end = params.tensor_split + HSK_DEVICES_MAX;
    if (std::any_of(params.tensor_split, end, [](float share) { return share > 0; })) {
        result.tensor_split.assign(params.tensor_split, end);
        result.native.tensor_split = result.tensor_split.data();
    }
}

// Has the devices of RPC servers take part.
void take_part(const hsk_model_params &params, hsk::ModelParams &result) {
    result.devices = hsk::devices_with(params.rpc_servers);
    const size_t n_beyond = HSK_DEVICES_MAX - std::min<size_t>(HSK_DEVICES_MAX, result.devices.size());
    const float *end = params.tensor_split + HSK_DEVICES_MAX;
    hsk::require(std::none_of(end - n_beyond, end, [](float share) { return share > 0; }),
                 "tensor_split has more numbers than there are devices of RPC servers and GPUs");
    result.devices.push_back(nullptr);
    result.native.devices = result.devices.data();
}

// The bytes a model and a context take on each device and on the host, which is the last.
common_device_memory_data_vec measure(const char *path, llama_model_params params, const llama_context_params &context,
                                      std::vector<ggml_backend_dev_t> &devices, uint32_t &n_layer) {
    if (params.split_mode == LLAMA_SPLIT_MODE_TENSOR) {
        params.split_mode = LLAMA_SPLIT_MODE_LAYER;  // the same shares, and all that llama.cpp can measure
    }
    uint32_t n_ctx_train = 0;
    uint32_t n_expert = 0;
    return common_get_device_memory_data(path, &params, &context, devices, n_layer, n_ctx_train, n_expert, GGML_LOG_LEVEL_NONE);
}

// llama.cpp's own fitting chooses the shares of the devices too: where they are given, the most layers that fit are looked for here.
void fit_layers_in_shares(const char *path, const llama_context_params &context, llama_model_params &params) {
    uint32_t n_layer = 0;
    const auto fits = [&](llama_model_params tried) {
        std::vector<ggml_backend_dev_t> devices;
        const auto memory = measure(path, tried, context, devices, n_layer);
        for (size_t i = 0; i < devices.size(); i++) {
            const size_t needed = memory[i].model + memory[i].context + memory[i].compute;
            if (static_cast<int64_t>(needed + margin_bytes) > memory[i].free) {
                return false;
            }
        }
        return true;
    };
    if (fits(params)) {
        return;
    }
    int32_t most = 0;
    int32_t too_many = static_cast<int32_t>(n_layer) + 1;
    while (too_many - most > 1) {
        llama_model_params tried = params;
        tried.n_gpu_layers = most + (too_many - most) / 2;
        (fits(tried) ? most : too_many) = tried.n_gpu_layers;
    }
    params.n_gpu_layers = most;
}

void fit_layers(const char *path, const hsk_context_params &context, hsk::ModelParams &params) {
    llama_context_params native = hsk::native_params(context);
    native.n_ctx = std::min(native.n_ctx, n_ctx_fitted_max);

    const std::lock_guard<std::mutex> lock(measuring);
    if (params.native.tensor_split != nullptr) {
        try {
            fit_layers_in_shares(path, native, params.native);
        } catch (const std::runtime_error &) {
            return;  // the file is no model: loading it says so
        }
        if (params.native.n_gpu_layers == 0) {
            leave_gpu_alone(params.native);
        }
        return;
    }
    params.tensor_split.resize(llama_max_devices());
    params.overrides.resize(llama_max_tensor_buft_overrides());
    std::vector<size_t> margins(llama_max_devices(), margin_bytes);
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
    ModelParams result{llama_model_default_params(), {}, {}, {}};
    llama_model_params &native = result.native;
    native.n_gpu_layers = params.n_gpu_layers;
    native.load_mode = params.use_mmap != 0 ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
    native.vocab_only = params.vocab_only != 0;
    native.no_alloc = params.no_weights != 0;
    if (native.no_alloc) {
        native.load_mode = LLAMA_LOAD_MODE_NONE;
    }
    native.check_tensors = params.check_tensors != 0;
    const bool is_spread = params.rpc_servers[0] != '\0';
    if (native.vocab_only || native.no_alloc || native.n_gpu_layers == 0 || (!is_spread && gpus().empty())) {
        leave_gpu_alone(native);
        return result;
    }
    spread(params, result);
    if (is_spread) {
        take_part(params, result);
    }
    // Of a model that is cut within its layers, llama.cpp cannot measure how many fit: all of them go there.
    if (params.fits_layers != 0 && native.n_gpu_layers < 0 && native.split_mode != LLAMA_SPLIT_MODE_TENSOR) {
        fit_layers(path, params.fit, result);
    }
    if (is_spread && native.n_gpu_layers == 0) {
        throw Failure(HSK_OUT_OF_MEMORY, "not one layer of the model fits in the memory of the RPC servers");
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
        const auto memory = measure(path, fitted.native, native, devices, n_layer);
        common_json list = common_json::array();
        for (size_t i = 0; i < memory.size(); i++) {
            list.push_back(common_json{{"name", i < devices.size() ? hsk::device_name(devices[i]) : "host"},
                                       {"description", i < devices.size() ? ggml_backend_dev_description(devices[i]) : ""},
                                       {"free_bytes", memory[i].free},
                                       {"total_bytes", memory[i].total},
                                       {"model_bytes", memory[i].model},
                                       {"context_bytes", memory[i].context},
                                       {"compute_bytes", memory[i].compute}});
        }
        hsk::give(out, list.dump_safe());
    });
}
