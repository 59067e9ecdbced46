#include "sequences.hpp"

#include "guard.hpp"

#include <algorithm>
#include <cstring>

namespace hsk {

void require_sequence(const hsk_context &context, int32_t seq_id) {
    require(seq_id >= 0 && static_cast<size_t>(seq_id) < context.rows.size(), "seq_id is out of range");
}

int32_t sequence_end(const hsk_context &context, int32_t seq_id) {
    return llama_memory_seq_pos_max(llama_get_memory(context.llama.get()), seq_id) + 1;
}

void clear(hsk_context &context, int32_t seq_id) {
    llama_memory_seq_rm(llama_get_memory(context.llama.get()), seq_id, -1, -1);
}

int32_t sequence_reach(const hsk_context &context, int32_t seq_id) {
    const int32_t window = std::max(1, llama_model_n_swa(context.model.get()));
    const int32_t begin = llama_memory_seq_pos_min(llama_get_memory(context.llama.get()), seq_id);
    return begin <= 0 ? 1 : begin + window;
}

bool cut(hsk_context &context, int32_t seq_id, int32_t n) {
    return n > 0 && llama_memory_seq_rm(llama_get_memory(context.llama.get()), seq_id, n, -1);
}

}  // namespace hsk

namespace {

// Whether all that a sequence had computed stays there: no window that moves on, no state that holds its last position only.
bool cuts_anywhere(const hsk_context &context) {
    const llama_model *model = context.model.get();
    return llama_model_n_swa(model) == 0 && !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model);
}

// Of DeepSeek 4's memory, llama.cpp copies a sequence only where each has a cache of its own, and ends the process elsewhere.
bool can_share(const hsk_context &context) {
    char arch[64] = "";
    llama_model_meta_val_str(context.model.get(), "general.architecture", arch, sizeof(arch));
    return std::strcmp(arch, "deepseek4") != 0;
}

// To where the sequence had n positions, with what was saved there of the parts of its memory that cannot be cut.
void go_back(hsk_context &context, int32_t seq_id, int32_t n, const char *bytes, size_t n_bytes) {
    const auto *state = reinterpret_cast<const uint8_t *>(bytes);
    const bool is_there = bytes == nullptr || llama_state_seq_set_data_ext(context.llama.get(), state, n_bytes, seq_id,
                                                                           LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY) == n_bytes;
    if (!is_there || !hsk::cut(context, seq_id, n) || hsk::sequence_end(context, seq_id) != n) {
        hsk::clear(context, seq_id);
        throw hsk::Failure(HSK_CONTEXT_FULL, "the KV cache has no room for the checkpoint");
    }
}

}  // namespace

int32_t hsk_sequence_end_get(hsk_context *context, int32_t seq_id, int32_t *end, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        *end = hsk::sequence_end(*context, seq_id);
    });
}

int32_t hsk_sequence_cut(hsk_context *context, int32_t seq_id, int32_t n, int32_t *n_held, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        hsk::require(n >= 0, "n must not be negative");
        context->rows[static_cast<size_t>(seq_id)] = hsk::no_row;
        const int32_t end = hsk::sequence_end(*context, seq_id);
        *n_held = std::min(n, end);
        if (n == 0 || (n < end && (n < hsk::sequence_reach(*context, seq_id) || !hsk::cut(*context, seq_id, n)))) {
            hsk::clear(*context, seq_id);
            *n_held = 0;
        }
    });
}

int32_t hsk_sequence_reach_get(hsk_context *context, int32_t seq_id, int32_t *n, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        *n = hsk::sequence_reach(*context, seq_id);
    });
}

int32_t hsk_sequence_copy(hsk_context *context, int32_t from, int32_t to, int32_t n, const char *bytes, size_t n_bytes,
                          hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, from);
        hsk::require_sequence(*context, to);
        hsk::require(from != to, "a sequence cannot be copied to itself");
        hsk::require(n > 0 && n <= hsk::sequence_end(*context, from), "n is not in what the sequence holds");
        context->rows[static_cast<size_t>(to)] = hsk::no_row;
        hsk::clear(*context, to);
        // Two sequences that shared the cells of a window would never give them back: `to` gets its own, out of a checkpoint.
        if ((bytes == nullptr && !cuts_anywhere(*context)) || !can_share(*context)) {
            throw hsk::Failure(HSK_UNSUPPORTED, "this model's memory cannot be shared");
        }
        // All of it, since some memories know no parts.
        llama_memory_seq_cp(llama_get_memory(context->llama.get()), from, to, -1, -1);
        go_back(*context, to, n, bytes, n_bytes);
    });
}

int32_t hsk_checkpoint_size_get(hsk_context *context, int32_t seq_id, size_t *n_bytes, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        *n_bytes = llama_state_seq_get_size_ext(context->llama.get(), seq_id, LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY);
    });
}

int32_t hsk_checkpoint_save(hsk_context *context, int32_t seq_id, char *out, size_t n_bytes, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        auto *bytes = reinterpret_cast<uint8_t *>(out);
        if (llama_state_seq_get_data_ext(context->llama.get(), bytes, n_bytes, seq_id, LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY) !=
            n_bytes) {
            throw hsk::Failure(HSK_INTERNAL, "the checkpoint could not be saved");
        }
    });
}

int32_t hsk_checkpoint_restore(hsk_context *context, int32_t seq_id, int32_t n, const char *bytes, size_t n_bytes,
                               hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        hsk::require(n > 0 && n <= hsk::sequence_end(*context, seq_id), "n is not in what the sequence holds");
        context->rows[static_cast<size_t>(seq_id)] = hsk::no_row;
        go_back(*context, seq_id, n, bytes, n_bytes);
    });
}

int32_t hsk_sequence_size_get(hsk_context *context, int32_t seq_id, size_t *n_bytes, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        *n_bytes = llama_state_seq_get_size(context->llama.get(), seq_id);
    });
}

int32_t hsk_sequence_save(hsk_context *context, int32_t seq_id, char *out, size_t n_bytes, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        auto *bytes = reinterpret_cast<uint8_t *>(out);
        if (llama_state_seq_get_data(context->llama.get(), bytes, n_bytes, seq_id) != n_bytes) {
            throw hsk::Failure(HSK_INTERNAL, "the sequence could not be saved");
        }
    });
}

int32_t hsk_sequence_restore(hsk_context *context, int32_t seq_id, const char *bytes, size_t n_bytes, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require_sequence(*context, seq_id);
        context->rows[static_cast<size_t>(seq_id)] = hsk::no_row;
        hsk::clear(*context, seq_id);
        const auto *state = reinterpret_cast<const uint8_t *>(bytes);
        if (llama_state_seq_set_data(context->llama.get(), state, n_bytes, seq_id) != n_bytes) {
            hsk::clear(*context, seq_id);
            throw hsk::Failure(HSK_CONTEXT_FULL, "the KV cache has no room for the saved sequence");
        }
    });
}
