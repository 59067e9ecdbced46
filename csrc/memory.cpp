#include "fit.h"  // llama.cpp's common

#include "guard.hpp"
#include "handles.hpp"

#include "json.h"

#include <mutex>
#include <vector>

int32_t hsk_memory_estimate_get(const char *path, const hsk_model_params *model_params, const hsk_context_params *params,
                                hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::init_backend();
        // llama.cpp swaps its global log handler while it measures.
        static std::mutex mutex;
        const std::lock_guard<std::mutex> lock(mutex);

        const llama_model_params model_native = hsk::native_params(*model_params);
        const llama_context_params native = hsk::native_params(*params);
        std::vector<ggml_backend_dev_t> devices;
        uint32_t n_layer = 0;
        uint32_t n_ctx_train = 0;
        uint32_t n_expert = 0;
        const auto memory = common_get_device_memory_data(path, &model_native, &native, devices, n_layer, n_ctx_train, n_expert,
                                                          GGML_LOG_LEVEL_NONE);
        size_t model_bytes = 0;
        size_t context_bytes = 0;
        size_t compute_bytes = 0;
        common_json list = common_json::array();
        for (size_t i = 0; i < memory.size(); i++) {
            model_bytes += memory[i].model;
            context_bytes += memory[i].context;
            compute_bytes += memory[i].compute;
            // llama.cpp puts the host last, after the devices.
            list.push_back(common_json{{"name", i < devices.size() ? ggml_backend_dev_name(devices[i]) : "host"},
                                       {"free_bytes", memory[i].free},
                                       {"total_bytes", memory[i].total},
                                       {"model_bytes", memory[i].model},
                                       {"context_bytes", memory[i].context},
                                       {"compute_bytes", memory[i].compute}});
        }
        const common_json estimate{
            {"model_bytes", model_bytes}, {"context_bytes", context_bytes}, {"compute_bytes", compute_bytes}, {"devices", list}};
        hsk::give(out, estimate.dump_safe());
    });
}
