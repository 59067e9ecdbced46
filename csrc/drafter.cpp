#include "drafter.hpp"

#include "guard.hpp"
#include "sequences.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <string>

namespace hsk {

Drafter::Drafter(const hsk_context &context, uint16_t n_ngram) {
    common_params_speculative params;
    params.types = {COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE};
    params.ngram_simple.size_n = n_ngram;
    params.ngram_simple.size_m = static_cast<uint16_t>(context.n_draft_max);
    start(context, params);
}

Drafter::Drafter(hsk_context &context, const hsk_model &draft_model, const hsk_context_params &params, float p_min)
    : model_(draft_model.model), others_(context.threads.get()) {
    if (draft_model.vocab_only || llama_model_has_encoder(model_.get()) || !llama_model_has_decoder(model_.get()) ||
        llama_model_is_recurrent(model_.get()) || llama_model_is_hybrid(model_.get())) {
        throw Failure(HSK_UNSUPPORTED, "this model cannot draft: it has no weights, an encoder or a recurrent memory");
    }
    llama_context_params native = native_params(params);
    native.n_seq_max = native.n_outputs_max = static_cast<uint32_t>(context.rows.size());
    context.control.attach(native);
    {
        const auto lock = lock_loras();
        llama_ = make_context(model_.get(), native, "the draft model's context");
    }
    threads_ = std::make_unique<Crew>(draft_model, llama_n_threads(context.llama.get()),
                                      llama_n_threads_batch(context.llama.get()), false);
    threads_->attach(llama_.get());

    common_params_speculative speculative;
    speculative.types = {COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE};
    speculative.draft.n_max = context.n_draft_max;
    speculative.draft.p_min = p_min;
    speculative.draft.ctx_tgt = context.llama.get();
    speculative.draft.ctx_dft = llama_.get();
    start(context, speculative);
}

void Drafter::start(const hsk_context &context, common_params_speculative &params) {
    tracks_.resize(context.rows.size());
    n_vocab_ = llama_vocab_n_tokens(llama_model_get_vocab(context.model.get()));
    try {
        speculative_.reset(common_speculative_init(params, static_cast<uint32_t>(tracks_.size())));
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception &) {
        // The one thing it looks at that has not been looked at here.
        throw Failure(HSK_UNSUPPORTED, "the draft model has another vocabulary than the model");
    }
}

void Drafter::tell(int32_t seq_id, size_t n_kept, const int32_t *tokens, size_t n_tokens) {
    llama_tokens &known = tracks_[static_cast<size_t>(seq_id)].tokens;
    require(n_kept <= known.size(), "n_kept is more than there was");
    known.resize(n_kept);
    known.insert(known.end(), tokens, tokens + n_tokens);
}

const llama_tokens &Drafter::guess(int32_t seq_id, int32_t n_max) {
    guesses_.clear();
    if (llama_) {
        others_->rest();
    }
    llama_tokens &tokens = tracks_[static_cast<size_t>(seq_id)].tokens;
    if (tokens.empty() || n_max <= 0 || (llama_ && !catch_up(seq_id, tokens.size() - 1))) {
        return guesses_;
    }
    const llama_token last = tokens.back();
    tokens.pop_back();
    common_speculative_draft_params &params = common_speculative_get_draft_params(speculative_.get(), seq_id);
    params.drafting = true;
    params.n_max = n_max;
    params.pos0 = static_cast<llama_pos>(tokens.size());
    params.id_last = last;
    params.prompt = &tokens;
    params.result = &guesses_;
    common_speculative_draft(speculative_.get());
    tokens.push_back(last);
    if (llama_) {
        // What it computed: the last token, and guesses as far as the next one was asked for.
        llama_tokens &held = tracks_[static_cast<size_t>(seq_id)].held;
        held.push_back(last);
        held.insert(held.end(), guesses_.begin(), guesses_.end());
        const llama_pos end = llama_memory_seq_pos_max(llama_get_memory(llama_.get()), seq_id) + 1;
        held.resize(std::min(held.size(), static_cast<size_t>(end)));
    }
    // The vocabularies may differ by a few tokens at their ends.
    guesses_.erase(std::find_if(guesses_.begin(), guesses_.end(), [&](llama_token token) { return token >= n_vocab_; }),
                   guesses_.end());
    return guesses_;
}

// Lets the draft model read up to a position, a batch at a time; whether it has.
bool Drafter::catch_up(int32_t seq_id, size_t n_wanted) {
    Track &track = tracks_[static_cast<size_t>(seq_id)];
    const size_t n_comparable = std::min(track.held.size(), n_wanted);
    const auto differs =
        std::mismatch(track.held.begin(), track.held.begin() + static_cast<std::ptrdiff_t>(n_comparable), track.tokens.begin());
    cut(seq_id, static_cast<size_t>(differs.first - track.held.begin()));
    const size_t n_read = std::min(n_wanted - track.held.size(), static_cast<size_t>(llama_n_batch(llama_.get())));
    make_room(seq_id, n_wanted + static_cast<size_t>(common_speculative_n_max(speculative_.get())));
    if (n_read > 0) {
        common_batch batch(llama_.get());
        for (size_t i = track.held.size(); i < track.held.size() + n_read; i++) {
            batch.add(track.tokens[i], static_cast<llama_pos>(i), seq_id, false);
        }
        if (!common_speculative_process(speculative_.get(), batch)) {
            cut(seq_id, track.held.size());
            return false;
        }
        const auto begin = track.tokens.begin() + static_cast<std::ptrdiff_t>(track.held.size());
        track.held.insert(track.held.end(), begin, begin + static_cast<std::ptrdiff_t>(n_read));
    }
    return track.held.size() == n_wanted;
}

void Drafter::cut(int32_t seq_id, size_t n_stay) {
    tracks_[static_cast<size_t>(seq_id)].held.resize(n_stay);
    llama_memory_seq_rm(llama_get_memory(llama_.get()), seq_id, static_cast<llama_pos>(n_stay), -1);
}

// Sequences that have ended leave theirs behind, until it is in the way.
void Drafter::make_room(int32_t seq_id, size_t n_wanted) {
    size_t n_others = 0;
    for (const Track &track : tracks_) {
        n_others += track.held.size();
    }
    n_others -= tracks_[static_cast<size_t>(seq_id)].held.size();
    if (n_others + n_wanted <= llama_n_ctx(llama_.get())) {
        return;
    }
    for (size_t other = 0; other < tracks_.size(); other++) {
        if (static_cast<int32_t>(other) != seq_id) {
            cut(static_cast<int32_t>(other), 0);
        }
    }
}

}  // namespace hsk

int32_t hsk_drafting_start(hsk_context *context, int32_t n_ngram, float p_min, const hsk_model *draft_model,
                           const hsk_context_params *draft_params, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require(context->n_draft_max > 0, "n_draft_max is 0");
        if (draft_model != nullptr) {
            context->drafter = std::make_unique<hsk::Drafter>(*context, *draft_model, *draft_params, p_min);
        } else {
            hsk::require(n_ngram > 0 && n_ngram <= UINT16_MAX, "n_ngram must be from 1 to 65535");
            context->drafter = std::make_unique<hsk::Drafter>(*context, static_cast<uint16_t>(n_ngram));
        }
    });
}

int32_t hsk_guess(hsk_context *context, int32_t seq_id, size_t n_kept, const int32_t *tokens, size_t n_tokens, int32_t n_max,
                  int32_t *guesses, int32_t *n_guesses, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        hsk::require(context->drafter != nullptr, "drafting was not started");
        context->drafter->tell(seq_id, n_kept, tokens, n_tokens);
        const llama_tokens &found = context->drafter->guess(seq_id, n_max);
        *n_guesses = std::min(n_max, static_cast<int32_t>(found.size()));
        std::copy(found.begin(), found.begin() + *n_guesses, guesses);
    });
}
