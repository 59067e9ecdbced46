#include "logits.hpp"

#include "guard.hpp"
#include "sequences.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace {

float *logits_of(hsk_context &context, int32_t seq_id, int32_t n_back = 0) {
    hsk::require_sequence(context, seq_id);
    const int32_t row = context.rows[static_cast<size_t>(seq_id)];
    hsk::require(row != hsk::no_row, "the last step kept no logits for the sequence");
    hsk::require(n_back >= 0 && n_back < context.n_rows[static_cast<size_t>(seq_id)],
                 "n_back is before the logits that were kept");
    float *logits = llama_get_logits_ith(context.llama.get(), row - n_back);
    if (logits == nullptr) {
        throw hsk::Failure(HSK_INTERNAL, "llama.cpp has no logits for the sequence");
    }
    return logits;
}

// The first of the largest. The accumulators are independent, so that the compiler can use vectors.
int32_t argmax(const float *logits, int32_t n) {
    constexpr int32_t n_lanes = 16;
    float largest[n_lanes];
    std::fill(largest, largest + n_lanes, -INFINITY);
    int32_t i = 0;
    for (; i + n_lanes <= n; i += n_lanes) {
        for (int32_t lane = 0; lane < n_lanes; lane++) {
            largest[lane] = logits[i + lane] > largest[lane] ? logits[i + lane] : largest[lane];
        }
    }
    for (; i < n; i++) {
        largest[0] = std::max(largest[0], logits[i]);
    }
    const float best = *std::max_element(largest, largest + n_lanes);
    return static_cast<int32_t>(std::find(logits, logits + n, best) - logits);
}

// While it lives, none of the tokens can be chosen from the logits; then they are whole again.
class Without {
  public:
    Without(float *logits, const std::vector<int32_t> &tokens) : logits_(logits), tokens_(tokens) {
        kept_.reserve(tokens_.size());
        for (const int32_t token : tokens_) {
            kept_.push_back(logits_[token]);
            logits_[token] = -INFINITY;
        }
    }
    ~Without() {
        for (size_t i = 0; i < kept_.size(); i++) {
            logits_[tokens_[i]] = kept_[i];
        }
    }
    Without(const Without &) = delete;
    Without &operator=(const Without &) = delete;

  private:
    float *logits_;
    const std::vector<int32_t> &tokens_;
    std::vector<float> kept_;
};

int32_t choose(hsk_context &context, int32_t seq_id, hsk_sampler &sampler) {
    float *logits = logits_of(context, seq_id);
    const std::vector<int32_t> none;
    const Without end(logits, sampler.n_before_end > 0 ? sampler.end_tokens : none);
    const Without broken_text(logits, sampler.has_grammar ? sampler.utf8->breaking(sampler.utf8_state) : none);
    if (sampler.is_argmax) {
        const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(context.model.get()));
        const int32_t token = argmax(logits, n_vocab);
        return token < n_vocab && logits[token] > -INFINITY ? token : LLAMA_TOKEN_NULL;
    }
    const int32_t row = context.rows[static_cast<size_t>(seq_id)];
    const int32_t token = common_sampler_sample(sampler.sampler.get(), context.llama.get(), row);
    const llama_token_data_array *candidates = common_sampler_get_candidates(sampler.sampler.get(), false);
    const bool is_allowed = candidates->selected >= 0 && candidates->data[candidates->selected].logit > -INFINITY;
    return is_allowed ? token : LLAMA_TOKEN_NULL;
}

// Whose fault it is that no token can be chosen.
[[noreturn]] void fail_without_token(hsk_context &context, int32_t seq_id, const hsk_sampler &sampler) {
    const float *logits = logits_of(context, seq_id);
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(context.model.get()));
    if (std::none_of(logits, logits + n_vocab, [](float logit) { return logit > -INFINITY; })) {
        throw hsk::Failure(HSK_INTERNAL, "the model's logits are no numbers");
    }
    if (sampler.has_grammar) {
        throw hsk::Failure(HSK_DEAD_END, "the grammar leaves no token to choose");
    }
    throw hsk::Failure(HSK_INVALID_ARGUMENT, "the biases leave no token to choose");
}

int32_t sample(hsk_context &context, int32_t seq_id, hsk_sampler &sampler) {
    hsk::require(!sampler.is_broken, "the grammar failed before, this sampler is of no use any more");
    const int32_t token = choose(context, seq_id, sampler);
    // Where everything is forbidden llama.cpp chooses all the same, and aborts when the grammar is told.
    if (token == LLAMA_TOKEN_NULL) {
        fail_without_token(context, seq_id, sampler);
    }
    hsk::accept(sampler, token, true);
    return token;
}

// log(sum(exp(logits))), with the largest taken out so that nothing overflows.
float log_sum_exp(const float *logits, size_t n) {
    const float largest = *std::max_element(logits, logits + n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += std::exp(logits[i] - largest);
    }
    return largest + static_cast<float>(std::log(sum));
}

}  // namespace

namespace hsk {

void sample_slot(hsk_context &context, hsk_slot &slot, hsk_error *error) {
    const llama_vocab *vocab = llama_model_get_vocab(context.model.get());
    const int32_t n_known = slot.n_tokens - slot.n_draft;
    const int32_t *guesses = slot.tokens + n_known;
    try {
        slot.token = sample(context, slot.seq_id, *slot.sampler);
        // An end token ends the answer here, even if it was guessed.
        while (slot.n_accepted < slot.n_draft && slot.token == guesses[slot.n_accepted] &&
               !llama_vocab_is_eog(vocab, slot.token)) {
            slot.n_accepted++;
            context.rows[static_cast<size_t>(slot.seq_id)]++;
            slot.token = sample(context, slot.seq_id, *slot.sampler);
        }
    } catch (...) {
        slot.token = LLAMA_TOKEN_NULL;
        slot.status = report_current_exception(error);
    }
    if (slot.n_accepted < slot.n_draft) {
        llama_memory_t memory = llama_get_memory(context.llama.get());
        llama_memory_seq_rm(memory, slot.seq_id, slot.pos + n_known + slot.n_accepted, -1);
    }
}

}  // namespace hsk

int32_t hsk_sample(hsk_context *context, int32_t seq_id, hsk_sampler *sampler, int32_t *token, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        *token = sample(*context, seq_id, *sampler);
    });
}

int32_t hsk_logits_copy(hsk_context *context, int32_t seq_id, float *logits, size_t n_vocab, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const int32_t n = llama_vocab_n_tokens(llama_model_get_vocab(context->model.get()));
        hsk::require(n_vocab == static_cast<size_t>(n), "n_vocab is not the vocabulary's size");
        std::memcpy(logits, logits_of(*context, seq_id), n_vocab * sizeof(float));
    });
}

int32_t hsk_logprobs_get(hsk_context *context, int32_t seq_id, int32_t n_back, int32_t token, float *token_logprob,
                         int32_t *top_tokens, float *top_logprobs, size_t n_top, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const llama_vocab *vocab = llama_model_get_vocab(context->model.get());
        const auto n_vocab = static_cast<size_t>(llama_vocab_n_tokens(vocab));
        hsk::require(n_top <= n_vocab, "n_top is larger than the vocabulary");
        const float *logits = logits_of(*context, seq_id, n_back);
        const float log_sum = log_sum_exp(logits, n_vocab);
        if (token != LLAMA_TOKEN_NULL) {
            hsk::require_token(vocab, token);
            *token_logprob = logits[token] - log_sum;
        }
        if (n_top == 0) {
            return;
        }
        std::vector<int32_t> order(n_vocab);
        std::iota(order.begin(), order.end(), 0);
        const auto middle = order.begin() + static_cast<std::ptrdiff_t>(n_top);
        // Equal logits go by token id, so that the order does not depend on the sort.
        std::partial_sort(order.begin(), middle, order.end(),
                          [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
        for (size_t i = 0; i < n_top; i++) {
            top_tokens[i] = order[i];
            top_logprobs[i] = logits[order[i]] - log_sum;
        }
    });
}
