#include "guard.hpp"
#include "handles.hpp"
#include "log.hpp"

#include "ggml.h"
#include "json.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

struct hsk_load {
    std::atomic<float> progress{0.0F};
    std::atomic<bool> cancelled{false};
};

namespace {

bool on_progress(float progress, void *user_data) {
    auto *load = static_cast<hsk_load *>(user_data);
    load->progress.store(progress, std::memory_order_relaxed);
    return !load->cancelled.load(std::memory_order_relaxed);
}

// llama.cpp's buffer functions give the length needed: ask, then read.
template <typename Read> std::string read_string(Read &&read) {
    std::string text(256, '\0');
    int32_t n_bytes = read(text.data(), text.size());
    if (n_bytes < 0) {
        return "";
    }
    if (static_cast<size_t>(n_bytes) >= text.size()) {
        text.resize(static_cast<size_t>(n_bytes) + 1);
        n_bytes = read(text.data(), text.size());
    }
    text.resize(static_cast<size_t>(n_bytes));
    return text;
}

std::string meta_value(const llama_model *model, const char *key) {
    return read_string([&](char *buf, size_t size) { return llama_model_meta_val_str(model, key, buf, size); });
}

common_json read_metadata(const llama_model *model) {
    common_json metadata = common_json::object();
    for (int32_t i = 0; i < llama_model_meta_count(model); i++) {
        const std::string key =
            read_string([&](char *buf, size_t size) { return llama_model_meta_key_by_index(model, i, buf, size); });
        metadata[key] =
            read_string([&](char *buf, size_t size) { return llama_model_meta_val_str_by_index(model, i, buf, size); });
    }
    return metadata;
}

const char *vocab_type_name(enum llama_vocab_type type) {
    switch (type) {
        case LLAMA_VOCAB_TYPE_SPM: return "spm";
        case LLAMA_VOCAB_TYPE_BPE: return "bpe";
        case LLAMA_VOCAB_TYPE_WPM: return "wpm";
        case LLAMA_VOCAB_TYPE_UGM: return "ugm";
        case LLAMA_VOCAB_TYPE_RWKV: return "rwkv";
        case LLAMA_VOCAB_TYPE_PLAMO2: return "plamo2";
        default: return "none";
    }
}

// The most bytes of text one token can stand for; 0 where the tokenizer drops text (or there is none). The text of a token is
// never shorter than its bytes: BPE writes some bytes as two, SentencePiece a space as three.
size_t token_bytes_max(const llama_vocab *vocab) {
    const enum llama_vocab_type type = llama_vocab_type(vocab);
    if (type != LLAMA_VOCAB_TYPE_BPE && type != LLAMA_VOCAB_TYPE_SPM) {
        return 0;
    }
    size_t longest = 0;
    for (int32_t token = 0; token < llama_vocab_n_tokens(vocab); token++) {
        longest = std::max(longest, std::strlen(llama_vocab_get_text(vocab, token)));
    }
    return longest;
}

common_json describe(const hsk_model &handle) {
    const llama_model *model = handle.model.get();
    const llama_vocab *vocab = handle.vocab;
    const char *chat_template = llama_model_chat_template(model, nullptr);
    // A vocabulary alone has no layers, and llama.cpp aborts the process when asked for the heads of the first one.
    const bool has_layers = llama_model_n_layer(model) > 0;
    return common_json{
        {"arch", meta_value(model, "general.architecture")},
        {"name", meta_value(model, "general.name")},
        {"description", read_string([&](char *buf, size_t size) { return llama_model_desc(model, buf, size); })},
        {"n_params", llama_model_n_params(model)},
        {"size_bytes", llama_model_size(model)},
        {"n_ctx_train", llama_model_n_ctx_train(model)},
        {"n_embd", llama_model_n_embd(model)},
        {"n_layer", llama_model_n_layer(model)},
        {"n_head", has_layers ? llama_model_n_head(model) : 0},
        {"n_head_kv", has_layers ? llama_model_n_head_kv(model) : 0},
        {"n_swa", llama_model_n_swa(model)},
        {"n_vocab", llama_vocab_n_tokens(vocab)},
        {"vocab_type", vocab_type_name(llama_vocab_type(vocab))},
        {"n_token_bytes_max", token_bytes_max(vocab)},
        {"quantisation", llama_ftype_name(llama_model_ftype(model))},
        {"chat_template", chat_template != nullptr ? common_json_value(chat_template) : common_json_value()},
        {"bos", llama_vocab_bos(vocab)},
        {"eos", llama_vocab_eos(vocab)},
        {"eot", llama_vocab_eot(vocab)},
        {"add_bos", llama_vocab_get_add_bos(vocab)},
        {"has_encoder", llama_model_has_encoder(model)},
        {"has_decoder", llama_model_has_decoder(model)},
        {"is_recurrent", llama_model_is_recurrent(model)},
        {"is_hybrid", llama_model_is_hybrid(model)},
        {"metadata", read_metadata(model)},
    };
}

}  // namespace

void hsk_model_params_default(hsk_model_params *params) noexcept {
    *params = {};
    params->n_gpu_layers = -1;
    params->split_mode = HSK_SPLIT_LAYER;
    params->use_mmap = 1;
}

int32_t hsk_load_new(hsk_load **out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] { *out = new hsk_load; });
}

void hsk_load_free(hsk_load *load) noexcept {
    delete load;
}

float hsk_load_progress_get(const hsk_load *load) noexcept {
    return load->progress.load(std::memory_order_relaxed);
}

void hsk_load_cancel(hsk_load *load) noexcept {
    load->cancelled.store(true, std::memory_order_relaxed);
}

int32_t hsk_model_load(const char *path, hsk_model_params *params, hsk_load *load, hsk_model **out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::init_backend();
        hsk::ModelParams fitted = hsk::native_params(path, *params);
        fitted.native.progress_callback = on_progress;
        fitted.native.progress_callback_user_data = load;

        shared_model model(llama_model_load_from_file(path, fitted.native), llama_model_free);
        if (load->cancelled.load(std::memory_order_relaxed)) {
            throw hsk::Failure(HSK_CANCELLED, "loading was cancelled");
        }
        if (!model) {
            throw hsk::Failure(HSK_MODEL_LOAD_FAILED, hsk::logged_reason());
        }
        const llama_vocab *vocab = llama_model_get_vocab(model.get());
        const int32_t n_layers_all = llama_model_n_layer(model.get()) + 1;
        const int32_t asked = fitted.native.n_gpu_layers;
        params->n_gpu_layers = asked < 0 ? n_layers_all : std::min(asked, n_layers_all);
        *out = new hsk_model{std::move(model), vocab, fitted.native.vocab_only || fitted.native.no_alloc, params->n_gpu_layers,
                             std::make_shared<hsk::Utf8Tokens>(vocab)};
        if (fitted.native.tensor_split != nullptr) {
            std::copy_n(fitted.native.tensor_split, HSK_DEVICES_MAX, params->tensor_split);
        }
        params->fits_layers = 0;
    });
}

void hsk_model_free(hsk_model *model) noexcept {
    delete model;
}

int32_t hsk_model_info_get(const hsk_model *model, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] { hsk::give(out, describe(*model).dump_safe()); });
}
