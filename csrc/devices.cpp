#include "devices.hpp"

namespace hsk {

std::vector<ggml_backend_dev_t> devices_of(enum ggml_backend_dev_type type) {
    std::vector<ggml_backend_dev_t> found;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        if (ggml_backend_dev_type(ggml_backend_dev_get(i)) == type) {
            found.push_back(ggml_backend_dev_get(i));
        }
    }
    return found;
}

std::vector<ggml_backend_dev_t> gpus() {
    const std::vector<ggml_backend_dev_t> found = devices_of(GGML_BACKEND_DEVICE_TYPE_GPU);
    return found.empty() ? devices_of(GGML_BACKEND_DEVICE_TYPE_IGPU) : found;
}

common_json describe(const std::vector<ggml_backend_dev_t> &devices) {
    common_json list = common_json::array();
    for (ggml_backend_dev_t device : devices) {
        size_t free_bytes = 0;
        size_t total_bytes = 0;
        ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
        list.push_back(common_json{{"name", ggml_backend_dev_name(device)},
                                   {"description", ggml_backend_dev_description(device)},
                                   {"free_bytes", free_bytes},
                                   {"total_bytes", total_bytes}});
    }
    return list;
}

}  // namespace hsk
