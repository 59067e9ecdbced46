// What is behind the opaque handles that more than one file looks into.
#pragma once

#include "hoshikage.h"
#include "utf8.hpp"

#include "llama.h"
#include "sampling.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// Contexts, samplers and templates share the model, so that handles may be freed in any order.
using shared_model = std::shared_ptr<llama_model>;

struct hsk_model {
    shared_model model;
    const llama_vocab *vocab;
    bool vocab_only;
    int32_t n_gpu_layers;  // on GPUs and other machines; 0: the CPU computes all
    std::shared_ptr<const hsk::Utf8Tokens> utf8;
};

struct hsk_sampler {
    shared_model model;
    common_sampler_ptr sampler;
    bool has_grammar;
    bool is_argmax;  // nothing in the chain can choose another token than the likeliest
    // A grammar that threw is left half-way, and llama.cpp aborts the process when it is used again.
    bool is_broken;
    int32_t n_before_end;             // tokens still to be generated before one of end_tokens may be
    std::vector<int32_t> end_tokens;  // empty where they may come at any time
    std::shared_ptr<const hsk::Utf8Tokens> utf8;
    hsk::Utf8State utf8_state = hsk::Utf8State::start;  // of what was generated under a grammar
    // Of a lazy grammar: what it becomes when the text that triggers it goes on as no text of the grammar's does.
    std::function<common_sampler_ptr()> without_grammar;
    std::vector<std::pair<int32_t, bool>> told;  // all tokens until then, and whether they were generated
};

namespace hsk {

llama_context_params native_params(const hsk_context_params &params);

/// llama.cpp's parameters, and what they point to: not to be copied.
struct ModelParams {
    llama_model_params native;
    std::vector<float> tensor_split;
    std::vector<llama_model_tensor_buft_override> overrides;
    std::vector<ggml_backend_dev_t> devices;  // empty, or NULL at the end
};

/// Parameters for loading the file at `path`; fits layers where that is asked for.
ModelParams native_params(const char *path, const hsk_model_params &params);

/// Tells a sampler a token, or a prompt's; throws where llama.cpp would abort.
void accept(hsk_sampler &sampler, int32_t token, bool is_generated);

/// Throws unless `token` is in the vocabulary.
void require_token(const llama_vocab *vocab, int32_t token);

}  // namespace hsk
