// LoRA adapters: each belongs to one model, and contexts share it.
#pragma once

#include "handles.hpp"

#include <mutex>

namespace hsk {

// Keeps the model alive, whose list of adapters it leaves when it is freed.
using shared_lora = std::shared_ptr<llama_adapter_lora>;
using Loras = std::vector<shared_lora>;

/// Held while a model's list of adapters is changed, or read: llama.cpp reads it when a context is made or given adapters.
std::unique_lock<std::mutex> lock_loras();

/// The adapters of handles; throws unless they are this model's, and different ones.
Loras to_loras(const hsk_model &model, const hsk_lora *const *loras, size_t n_loras);

/// Has a new context compute with adapters, under the lock: one token, as llama.cpp plans its memory anew with the first.
void apply_loras(llama_context *context, const Loras &loras, const float *scales);

}  // namespace hsk

struct hsk_lora {
    shared_model model;
    hsk::shared_lora adapter;
};
