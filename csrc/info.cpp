#include "devices.hpp"
#include "guard.hpp"

#include "build-info.h"
#include "common.h"
#include "ggml-backend.h"
#include "json.h"
#include "llama.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sched.h>

namespace {

void append_features(common_json &features, ggml_backend_reg_t reg) {
    const auto get =
        reinterpret_cast<ggml_backend_get_features_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features"));
    if (get == nullptr) {
        return;
    }
    for (const ggml_backend_feature *feature = get(reg); feature->name != nullptr; feature++) {
        if (std::string(feature->value) == "1") {
            features.push_back(common_json_value(feature->name));
        }
    }
}

int32_t n_allowed_cpus() {
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

// A container's CPU quota (cgroup v2): threads beyond it only wait for each other.
int32_t n_quota_cpus(int32_t otherwise) {
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    double quota_us = 0;
    double period_us = 0;
    if (file >> quota_us >> period_us && quota_us > 0 && period_us > 0) {
        return std::max(1, static_cast<int32_t>(std::floor(quota_us / period_us)));
    }
    return otherwise;
}

}  // namespace

int32_t hsk_system_info_get(hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::init_backend();
        common_json backends = common_json::array();
        common_json cpu_features = common_json::array();
        common_json gpus = common_json::array();
        for (size_t i = 0; i < ggml_backend_reg_count(); i++) {
            ggml_backend_reg_t reg = ggml_backend_reg_get(i);
            const std::string name = ggml_backend_reg_name(reg);
            backends.push_back(common_json_value(name));
            if (name == "CPU") {
                append_features(cpu_features, reg);
            }
        }
        for (ggml_backend_dev_t gpu : hsk::gpus()) {
            gpus.push_back(common_json_value(ggml_backend_dev_description(gpu)));
        }
        const common_json info{{"llama_cpp", common_json{{"commit", llama_commit()},
                                                         {"build_number", llama_build_number()},
                                                         {"compiler", llama_compiler()},
                                                         {"target", llama_build_target()}}},
                               {"backends", backends},
                               {"cpu_features", cpu_features},
                               {"gpus", gpus},
                               {"gpu_problem", hsk::backend_problem()}};
        hsk::give(out, info.dump_safe());
    });
}

int32_t hsk_gpus_get(hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::init_backend();
        hsk::give(out, hsk::describe(hsk::gpus()).dump_safe());
    });
}

int32_t hsk_thread_count_default(void) noexcept {
    try {
        const int32_t n_allowed = n_allowed_cpus();
        return std::max(1, std::min({common_cpu_get_num_math(), n_allowed, n_quota_cpus(n_allowed)}));
    } catch (...) {
        return 1;
    }
}
