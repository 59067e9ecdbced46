#include "context.hpp"

#include "drafter.hpp"
#include "guard.hpp"
#include "log.hpp"
#include "logits.hpp"
#include "sequences.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace {

ggml_type kv_type(const char *name) {
    // Those llama.cpp's own tools offer: with others ggml ends the process.
    for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_1,
                                 GGML_TYPE_IQ4_NL, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1}) {
        if (std::strcmp(ggml_type_name(type), name) == 0) {
            return type;
        }
    }
    throw hsk::Failure(HSK_INVALID_ARGUMENT,
                       std::string("kv_type must be f32, f16, bf16, q8_0, q5_0, q5_1, q4_0, q4_1 or iq4_nl, not ") + name);
}

// After how many of its tokens a slot's logits are kept, not counting guesses.
int32_t n_outputs(const hsk_slot &slot) {
    return slot.sampler != nullptr ? std::max(1, slot.n_logits) : slot.n_logits;
}

void require_slots(const hsk_context &context, const hsk_slot *slots, size_t n_slots) {
    hsk::require(n_slots > 0, "a step needs at least one slot");
    const llama_vocab *vocab = llama_model_get_vocab(context.model.get());
    int64_t n_tokens = 0;
    int64_t n_draft = 0;
    int64_t n_kept = 0;
    std::vector<bool> seen(context.rows.size(), false);
    for (size_t i = 0; i < n_slots; i++) {
        const hsk_slot &slot = slots[i];
        hsk::require_sequence(context, slot.seq_id);
        hsk::require(!seen[static_cast<size_t>(slot.seq_id)], "a sequence is in the step twice");
        seen[static_cast<size_t>(slot.seq_id)] = true;
        hsk::require(slot.n_tokens > 0, "a slot needs at least one token");
        hsk::require(slot.pos == hsk::sequence_end(context, slot.seq_id), "pos does not follow what the sequence holds");
        for (int32_t k = 0; k < slot.n_tokens; k++) {
            hsk::require_token(vocab, slot.tokens[k]);
        }
        n_tokens += slot.n_tokens;
        hsk::require(slot.n_draft >= 0 && slot.n_draft < slot.n_tokens, "a slot needs a token before its guesses");
        hsk::require(slot.n_draft == 0 || slot.sampler != nullptr, "guesses need a sampler that judges them");
        n_draft += slot.n_draft;
        hsk::require(slot.n_logits >= 0 && slot.n_logits <= slot.n_tokens - slot.n_draft,
                     "a slot has fewer tokens than n_logits");
        n_kept += n_outputs(slot) + slot.n_draft;
    }
    hsk::require(n_tokens <= context.n_batch, "more tokens than n_batch in one step");
    hsk::require(n_draft <= context.n_draft_max, "more guesses than n_draft_max in one step");
    hsk::require(n_kept <= context.n_outputs_max, "a step cannot keep the logits of so many tokens");
}

void fill_batch(hsk_context &context, hsk_slot *slots, size_t n_slots) {
    std::fill(context.rows.begin(), context.rows.end(), hsk::no_row);
    llama_batch &batch = context.batch;
    batch.n_tokens = 0;
    for (size_t i = 0; i < n_slots; i++) {
        hsk_slot &slot = slots[i];
        slot.token = LLAMA_TOKEN_NULL;
        slot.n_accepted = 0;
        slot.status = HSK_OK;
        const int32_t n_known = slot.n_tokens - slot.n_draft;
        const int32_t first_output = n_known - n_outputs(slot);
        const auto sequence = static_cast<size_t>(slot.seq_id);
        context.n_rows[sequence] = n_outputs(slot);
        for (int32_t k = 0; k < slot.n_tokens; k++) {
            const int32_t row = batch.n_tokens++;
            const bool is_kept = k >= first_output && n_outputs(slot) > 0;
            batch.token[row] = slot.tokens[k];
            batch.pos[row] = slot.pos + k;
            batch.n_seq_id[row] = 1;
            batch.seq_id[row][0] = slot.seq_id;
            batch.logits[row] = is_kept ? 1 : 0;
            if (is_kept && k == n_known - 1) {
                context.rows[sequence] = row;
            }
        }
    }
}

// Takes back what a failed decode left behind. A sequence that cannot go back there is lost.
void roll_back(hsk_context &context, const hsk_slot *slots, size_t n_slots) {
    for (size_t i = 0; i < n_slots; i++) {
        const hsk_slot &slot = slots[i];
        if (hsk::sequence_end(context, slot.seq_id) > slot.pos &&
            (slot.pos < hsk::sequence_reach(context, slot.seq_id) || !hsk::cut(context, slot.seq_id, slot.pos))) {
            hsk::clear(context, slot.seq_id);
        }
    }
    std::fill(context.rows.begin(), context.rows.end(), hsk::no_row);
}

// Where several sequences were computed together, the graph moves states of others as well to have theirs side by side, layer by
// layer; llama.cpp takes them for moved before that.
void forget_moved_states(hsk_context &context, size_t n_slots) {
    const llama_model *model = context.model.get();
    if (n_slots > 1 && (llama_model_is_recurrent(model) || llama_model_is_hybrid(model))) {
        llama_memory_clear(llama_get_memory(context.llama.get()), false);
    }
}

void decode(hsk_context &context, hsk_slot *slots, size_t n_slots) {
    if (context.control.interrupted.exchange(false)) {
        throw hsk::Failure(HSK_CANCELLED, "the step was interrupted");
    }
    fill_batch(context, slots, n_slots);
    const int32_t status = context.threads->compute(context.llama.get(), context.batch, llama_decode);
    if (status == 0) {
        // A GPU may still be computing: the step is to take as long as that does.
        llama_synchronize(context.llama.get());
        return;
    }
    if (status != 1) {
        forget_moved_states(context, n_slots);
    }
    roll_back(context, slots, n_slots);
    if (status == 2) {
        context.control.interrupted.store(false);
        throw hsk::Failure(HSK_CANCELLED, "the step was interrupted");
    }
    if (status == 1) {
        throw hsk::Failure(HSK_CONTEXT_FULL, "the KV cache has no room for the batch");
    }
    const std::string logged = hsk::logged_errors();
    throw hsk::Failure(status == -2 ? HSK_OUT_OF_MEMORY : HSK_INTERNAL,
                       "llama_decode failed with " + std::to_string(status) + (logged.empty() ? "" : ": " + logged));
}

}  // namespace

hsk_context::hsk_context() = default;

hsk_context::~hsk_context() {
    if (batch.token != nullptr) {
        llama_batch_free(batch);
    }
}

namespace hsk {

llama_context_params native_params(const hsk_context_params &params) {
    llama_context_params native = llama_context_default_params();
    native.n_ctx = params.n_ctx;
    native.n_batch = params.n_batch;
    native.n_ubatch = std::min(params.n_ubatch, params.n_batch);
    native.n_seq_max = params.n_seq_max;
    // A step keeps the logits after the last token of each sequence, and after each guess or after tokens of a prompt.
    native.n_outputs_max = std::min(params.n_batch, params.n_seq_max + std::max<uint32_t>(params.n_draft_max, HSK_LOGITS_MAX));
    native.n_threads = params.n_threads;
    native.n_threads_batch = params.n_threads_batch;
    native.flash_attn_type = params.flash_attention < 0    ? LLAMA_FLASH_ATTN_TYPE_AUTO
                             : params.flash_attention == 0 ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                                           : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    native.type_k = kv_type(params.kv_type_k);
    native.type_v = kv_type(params.kv_type_v);
    native.kv_unified = true;  // sequences share the cache: how long each may be is not fixed up front
    native.swa_full = false;   // a sliding window takes its own room only; checkpoints say what was behind it
    native.no_perf = true;
    return native;
}

}  // namespace hsk

void hsk_context_params_default(hsk_context_params *params) noexcept {
    *params = {};
    params->n_ctx = 4096;
    params->n_batch = 512;
    params->n_ubatch = 512;
    params->n_seq_max = 1;
    params->n_threads = hsk_thread_count_default();
    params->n_threads_batch = params->n_threads;
    params->flash_attention = -1;
    std::strcpy(params->kv_type_k, "f16");
    std::strcpy(params->kv_type_v, "f16");
}

int32_t hsk_context_new(const hsk_model *model, const hsk_context_params *params, const hsk_lora *const *loras,
                        const float *scales, size_t n_loras, hsk_context **out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        if (model->vocab_only) {
            throw hsk::Failure(HSK_UNSUPPORTED, "the model was loaded with its vocabulary only");
        }
        if (llama_model_has_encoder(model->model.get()) || !llama_model_has_decoder(model->model.get())) {
            throw hsk::Failure(HSK_UNSUPPORTED, "models with an encoder are not supported");
        }
        hsk::require(params->n_ctx > 0, "n_ctx must be at least 1");
        hsk::require(params->n_batch > 0 && params->n_ubatch > 0, "n_batch must be at least 1");
        hsk::require(params->n_seq_max > 0 && params->n_seq_max <= llama_max_parallel_sequences(),
                     "parallel must be from 1 to 256");
        hsk::require(params->n_seq_max <= params->n_batch && params->n_seq_max <= params->n_ctx,
                     "parallel must not be larger than n_batch and n_ctx: every sequence needs its token in a step");
        hsk::require(params->n_draft_max <= params->n_batch - params->n_seq_max,
                     "n_draft_max and parallel together must not be larger than n_batch");
        // A recurrent state cannot go back to before a wrong guess.
        if (params->n_draft_max > 0 &&
            (llama_model_is_recurrent(model->model.get()) || llama_model_is_hybrid(model->model.get()))) {
            throw hsk::Failure(HSK_UNSUPPORTED, "a model with a recurrent memory cannot take guesses back");
        }
        hsk::require(params->n_threads > 0 && params->n_threads <= GGML_MAX_N_THREADS && params->n_threads_batch > 0 &&
                         params->n_threads_batch <= GGML_MAX_N_THREADS,
                     "n_threads must be from 1 to 512");

        auto context = std::make_unique<hsk_context>();
        context->model = model->model;
        context->loras = hsk::to_loras(*model, loras, n_loras);
        context->threads = std::make_unique<hsk::Crew>(*model, params->n_threads, params->n_threads_batch);
        llama_context_params native = hsk::native_params(*params);
        context->control.attach(native);
        const auto lock = hsk::lock_loras();
        context->llama = hsk::make_context(model->model.get(), native);
        if (llama_get_memory(context->llama.get()) == nullptr) {
            throw hsk::Failure(HSK_UNSUPPORTED, "this model does not generate text (it has no KV cache)");
        }
        context->threads->attach(context->llama.get());
        hsk::apply_loras(context->llama.get(), context->loras, scales);
        context->rows.assign(params->n_seq_max, hsk::no_row);
        context->n_rows.assign(params->n_seq_max, 0);
        context->n_batch = static_cast<int32_t>(llama_n_batch(context->llama.get()));
        context->n_draft_max = static_cast<int32_t>(params->n_draft_max);
        context->n_outputs_max = static_cast<int32_t>(native.n_outputs_max);
        context->batch = llama_batch_init(context->n_batch, 0, 1);
        *out = context.release();
    });
}

void hsk_context_free(hsk_context *context) noexcept {
    delete context;
}

int32_t hsk_step(hsk_context *context, hsk_slot *slots, size_t n_slots, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_slots(*context, slots, n_slots);
        decode(*context, slots, n_slots);
        for (size_t i = 0; i < n_slots; i++) {
            hsk_slot &slot = slots[i];
            if (slot.sampler != nullptr) {
                hsk::sample_slot(*context, slot, error);
            }
        }
        context->control.advance();
    });
}

void hsk_context_rest(hsk_context *context) noexcept {
    context->threads->rest();
}

void hsk_context_interrupt(hsk_context *context) noexcept {
    context->control.interrupted.store(true);
}

uint64_t hsk_context_progress_get(const hsk_context *context) noexcept {
    return context->control.progress.load(std::memory_order_relaxed);
}
