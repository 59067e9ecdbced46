#include "guard.hpp"
#include "handles.hpp"
#include "log.hpp"
#include "lora.hpp"
#include "native.hpp"
#include "threads.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

static_assert(static_cast<int>(HSK_POOLING_UNSPECIFIED) == LLAMA_POOLING_TYPE_UNSPECIFIED);
static_assert(static_cast<int>(HSK_POOLING_NONE) == LLAMA_POOLING_TYPE_NONE);
static_assert(static_cast<int>(HSK_POOLING_MEAN) == LLAMA_POOLING_TYPE_MEAN);
static_assert(static_cast<int>(HSK_POOLING_CLS) == LLAMA_POOLING_TYPE_CLS);
static_assert(static_cast<int>(HSK_POOLING_LAST) == LLAMA_POOLING_TYPE_LAST);
static_assert(static_cast<int>(HSK_POOLING_RANK) == LLAMA_POOLING_TYPE_RANK);

}  // namespace

struct hsk_embedder {
    // In the order of construction, as in hsk_context.
    shared_model model;
    hsk::Loras loras;
    std::unique_ptr<hsk::Crew> threads;
    hsk::Control control;
    hsk::native_context llama;
    llama_batch batch{};
    hsk_embedder_info info{};
    bool encodes = false;    // there is no KV cache
    bool is_pooled = false;  // by llama.cpp; otherwise it gives a vector for each token
    int32_t n_batch = 0;
    bool may_be_elsewhere = false;  // computed, by a GPU or another machine
    size_t n_seq_max = 0;

    ~hsk_embedder() {
        if (batch.token != nullptr) {
            llama_batch_free(batch);
        }
    }
};

namespace {

// Where each token's vector is asked for, its logits come along: n_vocab floats a token, in two buffers.
constexpr uint32_t n_outputs_at_once = 128;

/// One token of one input.
struct Place {
    int32_t input;
    int32_t pos;
};

// How a model computes embeddings can only be asked of a context: a small one.
void look_at(hsk_embedder &embedder, llama_context_params native, int32_t pooling) {
    llama_model *model = embedder.model.get();
    native.n_ctx = native.n_batch = native.n_ubatch = native.n_outputs_max = 32;
    native.n_seq_max = 1;
    const hsk::native_context probe = hsk::make_context(model, native);
    embedder.encodes = llama_get_memory(probe.get()) == nullptr;
    const bool is_whole = embedder.encodes || !llama_get_causal_attn(probe.get());
    embedder.info.is_whole = is_whole ? 1 : 0;
    if (pooling == HSK_POOLING_UNSPECIFIED) {
        pooling = llama_pooling_type(probe.get());
        if (pooling == HSK_POOLING_NONE) {  // also where the file says nothing
            pooling = embedder.encodes ? HSK_POOLING_MEAN : HSK_POOLING_LAST;
        }
    }
    embedder.info.pooling = pooling;
    embedder.info.n_embd =
        pooling == HSK_POOLING_RANK ? static_cast<int32_t>(llama_model_n_cls_out(model)) : llama_model_n_embd_out(model);
}

llama_context_params context_params(hsk_embedder &embedder, const hsk_context_params &params) {
    llama_context_params native = hsk::native_params(params);
    native.embeddings = true;
    embedder.control.attach(native);
    return native;
}

void require_params(const hsk_context_params &params, int32_t pooling) {
    hsk::require(params.n_ctx > 0, "n_ctx must be at least 1");
    hsk::require(params.n_batch > 0 && params.n_ubatch > 0, "n_batch must be at least 1");
    hsk::require(params.n_seq_max > 0 && params.n_seq_max <= llama_max_parallel_sequences() && params.n_seq_max <= params.n_batch,
                 "parallel must be from 1 to 256, and not larger than n_batch");
    hsk::require(params.n_threads > 0 && params.n_threads <= GGML_MAX_N_THREADS, "n_threads must be from 1 to 512");
    hsk::require(pooling >= HSK_POOLING_UNSPECIFIED && pooling <= HSK_POOLING_RANK, "pooling is out of range");
}

void require_model(const hsk_model &model) {
    if (model.vocab_only) {
        throw hsk::Failure(HSK_UNSUPPORTED, "the model was loaded with its vocabulary only");
    }
    if (llama_model_has_encoder(model.model.get()) && llama_model_has_decoder(model.model.get())) {
        throw hsk::Failure(HSK_UNSUPPORTED, "models with an encoder and a decoder are not supported");
    }
}

void open_context(hsk_embedder &embedder, llama_context_params native) {
    if (embedder.info.is_whole != 0) {
        // Beyond these there are no embeddings of positions, and llama.cpp ends the process.
        native.n_ctx = std::min(native.n_ctx, static_cast<uint32_t>(llama_model_n_ctx_train(embedder.model.get())));
        native.n_batch = native.n_ubatch = native.n_ctx;
        native.n_seq_max = std::min(native.n_seq_max, native.n_ctx);
    }
    // A mean is not made of pieces by llama.cpp, so that each token's vector is asked for.
    const int32_t pooling = embedder.info.pooling;
    const bool is_mean_of_pieces = pooling == HSK_POOLING_MEAN && embedder.info.is_whole == 0;
    embedder.is_pooled = pooling != HSK_POOLING_NONE && !is_mean_of_pieces;
    native.pooling_type = embedder.is_pooled ? static_cast<enum llama_pooling_type>(pooling) : LLAMA_POOLING_TYPE_NONE;
    // What llama.cpp pools in pieces needs the vector of one token a sequence.
    if (embedder.info.is_whole == 0 && embedder.is_pooled) {
        native.n_outputs_max = native.n_seq_max;
    } else if (embedder.info.is_whole == 0) {
        native.n_batch = native.n_ubatch = std::min(native.n_batch, std::max(n_outputs_at_once, native.n_seq_max));
        native.n_outputs_max = native.n_batch;
    } else {
        native.n_outputs_max = native.n_batch;
    }
    embedder.info.n_ctx = static_cast<int32_t>(native.n_ctx);
    embedder.n_batch = static_cast<int32_t>(native.n_batch);
    embedder.n_seq_max = native.n_seq_max;
    embedder.llama = hsk::make_context(embedder.model.get(), native);
    embedder.threads->attach(embedder.llama.get());
    embedder.batch = llama_batch_init(embedder.n_batch, 0, 1);
}

void require_inputs(const hsk_embedder &embedder, const hsk_input *inputs, size_t n_inputs) {
    hsk::require(n_inputs > 0 && n_inputs <= embedder.n_seq_max, "the number of inputs is out of range");
    const llama_vocab *vocab = llama_model_get_vocab(embedder.model.get());
    int64_t n_tokens = 0;
    for (size_t i = 0; i < n_inputs; i++) {
        hsk::require(inputs[i].n_tokens > 0, "an input needs at least one token");
        n_tokens += inputs[i].n_tokens;
        hsk::require(n_tokens <= embedder.info.n_ctx, "more tokens than n_ctx");
        for (int32_t k = 0; k < inputs[i].n_tokens; k++) {
            hsk::require_token(vocab, inputs[i].tokens[k]);
        }
    }
}

void check_interrupt(hsk_embedder &embedder) {
    if (embedder.control.interrupted.exchange(false)) {
        throw hsk::Failure(HSK_CANCELLED, "the computation was interrupted");
    }
}

// Computes the tokens at `places`, n_batch of them at most.
void compute(hsk_embedder &embedder, const hsk_input *inputs, const Place *places, int32_t n_places, bool wants_vectors) {
    check_interrupt(embedder);
    llama_batch &batch = embedder.batch;
    batch.n_tokens = n_places;
    for (int32_t row = 0; row < n_places; row++) {
        batch.token[row] = inputs[places[row].input].tokens[places[row].pos];
        batch.pos[row] = places[row].pos;
        batch.n_seq_id[row] = 1;
        batch.seq_id[row][0] = places[row].input;
        batch.logits[row] = wants_vectors ? 1 : 0;
    }
    if (embedder.may_be_elsewhere) {
        // Something is asked for in any case: else llama.cpp comes back while another machine is still computing, and sends it all
        // that follows, which that computes to its end when nobody wants it any more.
        batch.logits[n_places - 1] = 1;
    }
    llama_context *context = embedder.llama.get();
    llama_set_embeddings(context, wants_vectors);
    const int32_t status = embedder.threads->compute(context, batch, embedder.encodes ? llama_encode : llama_decode);
    if (status == 2) {
        check_interrupt(embedder);
        throw hsk::Failure(HSK_CANCELLED, "the computation was interrupted");
    }
    if (status == -2) {
        throw hsk::Failure(HSK_OUT_OF_MEMORY, "there is no memory for " + std::to_string(n_places) + " tokens at once");
    }
    if (status != 0) {
        const std::string logged = hsk::logged_errors();
        throw hsk::Failure(HSK_INTERNAL,
                           "llama.cpp failed with " + std::to_string(status) + (logged.empty() ? "" : ": " + logged));
    }
    llama_synchronize(context);
    embedder.control.advance();
}

const float *require_vector(const float *vector) {
    if (vector == nullptr) {
        throw hsk::Failure(HSK_INTERNAL, "llama.cpp has no embedding for the input");
    }
    return vector;
}

// Calls `take(place, vector)` for each of `places`, which are computed n_batch at a time.
template <typename Take>
void for_each_vector(hsk_embedder &embedder, const hsk_input *inputs, const std::vector<Place> &places, Take &&take) {
    const auto n_batch = static_cast<size_t>(embedder.n_batch);
    for (size_t begin = 0; begin < places.size(); begin += n_batch) {
        const auto n_places = static_cast<int32_t>(std::min(n_batch, places.size() - begin));
        compute(embedder, inputs, &places[begin], n_places, true);
        for (int32_t row = 0; row < n_places; row++) {
            take(places[begin + static_cast<size_t>(row)], require_vector(llama_get_embeddings_ith(embedder.llama.get(), row)));
        }
    }
}

std::vector<Place> all_places(const hsk_input *inputs, size_t n_inputs) {
    std::vector<Place> places;
    for (size_t i = 0; i < n_inputs; i++) {
        for (int32_t pos = 0; pos < inputs[i].n_tokens; pos++) {
            places.push_back({static_cast<int32_t>(i), pos});
        }
    }
    return places;
}

// Where a later token sees the earlier ones only, one token's vector is the whole outcome: what comes before it is computed
// without any output (which spares the vocabulary's matrix), what comes after it not at all.
void compute_last_alone(hsk_embedder &embedder, const hsk_input *inputs, size_t n_inputs) {
    std::vector<Place> before;
    std::vector<Place> chosen;
    for (size_t i = 0; i < n_inputs; i++) {
        const int32_t target = embedder.info.pooling == HSK_POOLING_CLS ? 0 : inputs[i].n_tokens - 1;
        for (int32_t pos = 0; pos < target; pos++) {
            before.push_back({static_cast<int32_t>(i), pos});
        }
        chosen.push_back({static_cast<int32_t>(i), target});
    }
    const auto n_batch = static_cast<size_t>(embedder.n_batch);
    for (size_t begin = 0; begin < before.size(); begin += n_batch) {
        compute(embedder, inputs, &before[begin], static_cast<int32_t>(std::min(n_batch, before.size() - begin)), false);
    }
    compute(embedder, inputs, chosen.data(), static_cast<int32_t>(chosen.size()), true);
}

// Writes the first `n_dims` of a vector.
template <typename Number> void write(const Number *vector, size_t n_dims, bool normalize, float *out) {
    double scale = 1;
    if (normalize) {
        double sum = 0;
        for (size_t i = 0; i < n_dims; i++) {
            sum += static_cast<double>(vector[i]) * static_cast<double>(vector[i]);
        }
        scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
    }
    for (size_t i = 0; i < n_dims; i++) {
        out[i] = static_cast<float>(static_cast<double>(vector[i]) * scale);
    }
}

}  // namespace

int32_t hsk_embedder_new(const hsk_model *model, const hsk_context_params *params, int32_t pooling, const hsk_lora *const *loras,
                         const float *scales, size_t n_loras, hsk_embedder **out, hsk_embedder_info *info,
                         hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_model(*model);
        require_params(*params, pooling);
        auto embedder = std::make_unique<hsk_embedder>();
        embedder->model = model->model;
        embedder->may_be_elsewhere = model->n_gpu_layers > 0;
        embedder->loras = hsk::to_loras(*model, loras, n_loras);
        embedder->threads = std::make_unique<hsk::Crew>(*model, params->n_threads, params->n_threads);
        const llama_context_params native = context_params(*embedder, *params);
        const auto lock = hsk::lock_loras();
        look_at(*embedder, native, pooling);
        open_context(*embedder, native);
        hsk::apply_loras(embedder->llama.get(), embedder->loras, scales);
        *info = embedder->info;
        *out = embedder.release();
    });
}

void hsk_embedder_free(hsk_embedder *embedder) noexcept {
    delete embedder;
}

int32_t hsk_embed(hsk_embedder *embedder, const hsk_input *inputs, size_t n_inputs, int32_t normalize, int32_t n_dims,
                  float *vectors, size_t n_floats, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const hsk_embedder_info &info = embedder->info;
        require_inputs(*embedder, inputs, n_inputs);
        hsk::require(n_dims > 0 && n_dims <= info.n_embd, "n_dims must be from 1 to n_embd");
        const std::vector<Place> places = all_places(inputs, n_inputs);
        const auto width = static_cast<size_t>(n_dims);
        const auto n_embd = static_cast<size_t>(info.n_embd);
        const size_t n_vectors = info.pooling == HSK_POOLING_NONE ? places.size() : n_inputs;
        hsk::require(n_floats == n_vectors * width, "vectors has another size than the vectors need");
        const bool is_scaled = normalize != 0 && info.pooling != HSK_POOLING_RANK;
        if (!embedder->encodes) {
            llama_memory_clear(llama_get_memory(embedder->llama.get()), false);
        }
        if (embedder->is_pooled) {
            if (info.is_whole != 0) {
                compute(*embedder, inputs, places.data(), static_cast<int32_t>(places.size()), true);
            } else {
                compute_last_alone(*embedder, inputs, n_inputs);
            }
            for (size_t i = 0; i < n_inputs; i++) {
                const float *vector = llama_get_embeddings_seq(embedder->llama.get(), static_cast<llama_seq_id>(i));
                write(require_vector(vector), width, is_scaled, vectors + i * width);
            }
        } else if (info.pooling == HSK_POOLING_NONE) {
            size_t n_written = 0;
            for_each_vector(*embedder, inputs, places, [&](const Place &, const float *vector) {
                write(vector, width, is_scaled, vectors + width * n_written++);
            });
        } else {
            std::vector<double> sums(n_inputs * n_embd, 0.0);
            for_each_vector(*embedder, inputs, places, [&](const Place &place, const float *vector) {
                double *sum = &sums[static_cast<size_t>(place.input) * n_embd];
                for (size_t k = 0; k < n_embd; k++) {
                    sum[k] += static_cast<double>(vector[k]) / inputs[place.input].n_tokens;
                }
            });
            for (size_t i = 0; i < n_inputs; i++) {
                write(&sums[i * n_embd], width, is_scaled, vectors + i * width);
            }
        }
    });
}

void hsk_embedder_interrupt(hsk_embedder *embedder) noexcept {
    embedder->control.interrupted.store(true);
}

uint64_t hsk_embedder_progress_get(const hsk_embedder *embedder) noexcept {
    return embedder->control.progress.load(std::memory_order_relaxed);
}
