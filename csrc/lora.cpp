#include "lora.hpp"

#include "guard.hpp"
#include "log.hpp"

#include "gguf.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

// llama.cpp's own, made for its tools, in a header that is not installed.
const std::vector<std::pair<std::string, ggml_tensor *>> &llama_internal_get_tensor_map(const llama_model *model);

namespace {

struct FreeGguf {
    void operator()(gguf_context *file) const { gguf_free(file); }
};
struct FreeTensors {
    void operator()(ggml_context *tensors) const { ggml_free(tensors); }
};

struct Pair {
    const ggml_tensor *a = nullptr;
    const ggml_tensor *b = nullptr;
};

[[noreturn]] void refuse(const std::string &reason) {
    throw hsk::Failure(HSK_MODEL_LOAD_FAILED, reason);
}

bool ends_with(const std::string &text, const std::string &end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void require_type(const gguf_context *file, const char *key, enum gguf_type type) {
    const int64_t id = gguf_find_key(file, key);
    if (id >= 0 && gguf_get_kv_type(file, id) != type) {
        refuse(std::string(key) + " is not of the type " + gguf_type_name(type));
    }
}

const ggml_tensor *find(const llama_model *model, const std::string &name) {
    for (const auto &[found, tensor] : llama_internal_get_tensor_map(model)) {
        if (found == name) {
            return tensor;
        }
    }
    return nullptr;
}

void require_tensor(const ggml_tensor *tensor, const ggml_tensor *weight) {
    const bool is_number = tensor->type == GGML_TYPE_F32 || tensor->type == GGML_TYPE_F16 || tensor->type == GGML_TYPE_BF16;
    if (!is_number && !ggml_is_quantized(tensor->type)) {
        refuse(std::string("tensor '") + tensor->name + "' is of the type " + ggml_type_name(tensor->type));
    }
    if (ggml_nelements(tensor) <= 0 || tensor->ne[2] != weight->ne[2] || tensor->ne[3] != weight->ne[3]) {
        refuse(std::string("tensor '") + tensor->name + "' has incorrect shape (hint: maybe wrong base model?)");
    }
}

void require_pair(const llama_model *model, const std::string &name, const Pair &pair) {
    const ggml_tensor *weight = find(model, name);
    if (pair.a == nullptr || pair.b == nullptr || weight == nullptr) {
        return;  // llama.cpp says so
    }
    require_tensor(pair.a, weight);
    require_tensor(pair.b, weight);
    if (!ends_with(name, "token_embd.weight")) {
        return;
    }
    if (pair.a->ne[0] != pair.b->ne[0]) {
        refuse("the tensors for '" + name + "' do not go together");
    }
    if (find(model, "output.weight") == nullptr) {
        refuse("it changes the embeddings, which are the output's weights as well in this model: llama.cpp cannot apply that");
    }
}

// Refuses files of which llama.cpp would end the process, while it loads them or when it applies them. Returns how many weights
// the others change.
size_t require_adapter(const llama_model *model, const char *path) {
    ggml_context *made = nullptr;
    const std::unique_ptr<gguf_context, FreeGguf> file(gguf_init_from_file(path, {true, &made}));
    const std::unique_ptr<ggml_context, FreeTensors> tensors(made);
    if (!file) {
        const std::string reason = hsk::logged_errors();
        refuse(reason.empty() ? "it is no GGUF file" : reason);
    }
    for (const char *key : {"general.type", "general.architecture", "adapter.type"}) {
        require_type(file.get(), key, GGUF_TYPE_STRING);
    }
    require_type(file.get(), "adapter.lora.alpha", GGUF_TYPE_FLOAT32);
    if (gguf_find_key(file.get(), "adapter.alora.invocation_tokens") >= 0) {
        refuse("it acts only after certain tokens (aLoRA), which is not supported");
    }
    std::map<std::string, Pair> pairs;
    for (ggml_tensor *tensor = ggml_get_first_tensor(tensors.get()); tensor != nullptr;
         tensor = ggml_get_next_tensor(tensors.get(), tensor)) {
        const std::string name = tensor->name;
        if (ends_with(name, ".lora_a")) {
            pairs[name.substr(0, name.size() - 7)].a = tensor;
        } else if (ends_with(name, ".lora_b")) {
            pairs[name.substr(0, name.size() - 7)].b = tensor;
        }
    }
    for (const auto &[name, pair] : pairs) {
        if (name.find(".lora_") != std::string::npos) {
            refuse("tensor '" + name + "' does not exist in base model");  // llama.cpp would take it for another one
        }
        require_pair(model, name, pair);
    }
    return pairs.size();
}

}  // namespace

namespace hsk {

std::unique_lock<std::mutex> lock_loras() {
    static std::mutex mutex;
    return std::unique_lock<std::mutex>(mutex);
}

Loras to_loras(const hsk_model &model, const hsk_lora *const *loras, size_t n_loras) {
    Loras result;
    for (size_t i = 0; i < n_loras; i++) {
        require(loras[i]->model == model.model, "an adapter belongs to another model");
        require(std::find(result.begin(), result.end(), loras[i]->adapter) == result.end(), "an adapter is there twice");
        result.push_back(loras[i]->adapter);
    }
    return result;
}

void apply_loras(llama_context *context, const Loras &loras, const float *scales) {
    if (loras.empty()) {
        return;
    }
    std::vector<llama_adapter_lora *> adapters;
    for (const auto &lora : loras) {
        adapters.push_back(lora.get());
    }
    std::vector<float> copy(scales, scales + loras.size());
    llama_set_adapters_lora(context, adapters.data(), adapters.size(), copy.data());
    llama_token token = 0;
    const llama_batch batch = llama_batch_get_one(&token, 1);
    const llama_memory_t memory = llama_get_memory(context);
    const int32_t status = memory == nullptr ? llama_encode(context, batch) : llama_decode(context, batch);
    if (status != 0) {
        const std::string logged = logged_errors();
        throw Failure(HSK_INTERNAL, "cannot compute with the adapters" + (logged.empty() ? "" : ": " + logged));
    }
    if (memory != nullptr) {
        llama_memory_clear(memory, true);
    }
}

}  // namespace hsk

int32_t hsk_lora_load(const hsk_model *model, const char *path, hsk_lora **out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        if (model->vocab_only) {
            throw hsk::Failure(HSK_UNSUPPORTED, "the model was loaded with its vocabulary only");
        }
        const size_t n_changed = require_adapter(model->model.get(), path);
        auto lora = std::make_unique<hsk_lora>();
        lora->model = model->model;
        llama_adapter_lora *adapter = nullptr;
        {
            const auto lock = hsk::lock_loras();
            adapter = llama_adapter_lora_init(model->model.get(), path);
        }
        if (adapter == nullptr) {
            refuse(hsk::logged_reason());
        }
        lora->adapter = hsk::shared_lora(adapter, [model = model->model](llama_adapter_lora *owned) {
            const auto lock = hsk::lock_loras();
            llama_adapter_lora_free(owned);
        });
        if (n_changed == 0) {
            refuse("there is nothing in it that changes a model");
        }
        *out = lora.release();
    });
}

void hsk_lora_free(hsk_lora *lora) noexcept {
    delete lora;
}
