// Guesses how sequences go on, by llama.cpp's speculative decoding.
#pragma once

#include "context.hpp"

#include "common.h"
#include "speculative.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hsk {

/// What `common_speculative` needs around it: each sequence's tokens, and a draft model that has read them.
class Drafter {
  public:
    /// Looks for what followed the last `n_ngram` tokens before.
    Drafter(const hsk_context &context, uint16_t n_ngram);

    /// Asks a draft model; throws HSK_UNSUPPORTED where it does not suit the context's.
    Drafter(hsk_context &context, const hsk_model &draft_model, const hsk_context_params &params, float p_min);

    /// Takes note of a sequence's tokens: the first `n_kept` of those known, and these.
    void tell(int32_t seq_id, size_t n_kept, const int32_t *tokens, size_t n_tokens);

    /// At most `n_max` guesses of what follows; valid until the next call.
    const llama_tokens &guess(int32_t seq_id, int32_t n_max);

  private:
    struct Track {
        llama_tokens tokens;  // all that are true
        llama_tokens held;    // those in the draft model's memory, guesses included
    };

    void start(const hsk_context &context, common_params_speculative &params);
    bool catch_up(int32_t seq_id, size_t n_wanted);
    void cut(int32_t seq_id, size_t n_stay);
    void make_room(int32_t seq_id, size_t n_wanted);

    // In the order of construction: the draft model's context goes before the threads and the model, and after who asks it.
    shared_model model_;
    Crew *others_ = nullptr;  // which would be in its way
    std::unique_ptr<Crew> threads_;
    native_context llama_;
    common_speculative_ptr speculative_;
    int32_t n_vocab_;
    std::vector<Track> tracks_;
    llama_tokens guesses_;
};

}  // namespace hsk
