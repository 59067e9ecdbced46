// A context: what computes sequences, and what guesses how they go on.
#pragma once

#include "handles.hpp"
#include "lora.hpp"
#include "native.hpp"
#include "threads.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace hsk {

class Drafter;

constexpr int32_t no_row = -1;

}  // namespace hsk

struct hsk_context {
    // In the order of construction: the llama_context must go before the adapters and the threads it computes with, and all
    // before the model.
    shared_model model;
    hsk::Loras loras;
    std::unique_ptr<hsk::Crew> threads;
    hsk::Control control;
    hsk::native_context llama;
    std::vector<int32_t> rows;    // by sequence: where in the last batch the logits after its last token are
    std::vector<int32_t> n_rows;  // and how many there are up to that
    llama_batch batch{};
    int32_t n_batch = 0;
    int32_t n_draft_max = 0;
    int32_t n_outputs_max = 0;
    std::unique_ptr<hsk::Drafter> drafter;

    hsk_context();
    ~hsk_context();
};
