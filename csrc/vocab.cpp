#include "guard.hpp"
#include "handles.hpp"

#include <cctype>
#include <climits>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace hsk {

void require_token(const llama_vocab *vocab, int32_t token) {
    const int32_t n_vocab = llama_vocab_n_tokens(vocab);
    if (token < 0 || token >= n_vocab) {
        throw Failure(HSK_INVALID_ARGUMENT,
                      "token " + std::to_string(token) + " is not in the vocabulary (0.." + std::to_string(n_vocab - 1) + ")");
    }
}

}  // namespace hsk

namespace {

void require_vocabulary(const llama_vocab *vocab) {
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) {
        throw hsk::Failure(HSK_UNSUPPORTED, "this model has no vocabulary");
    }
}

constexpr int32_t special = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED | LLAMA_TOKEN_ATTR_UNKNOWN;

bool is_special(const llama_vocab *vocab, int32_t token) {
    return (llama_vocab_get_attr(vocab, token) & special) != 0;
}

// Whether somewhere `longer` could be found that begins before the end of `text`, and ends behind it.
bool reaches_beyond(std::string_view longer, std::string_view text) {
    for (size_t begin = 0; begin < text.size(); begin++) {
        const std::string_view tail = text.substr(begin);
        if (longer.size() > tail.size() && longer.substr(0, tail.size()) == tail) {
            return true;
        }
    }
    const size_t found = longer.find(text);
    return found != std::string_view::npos && found + text.size() < longer.size();
}

// llama.cpp first takes the special tokens out of a text, the longest first, and then cuts each piece between them on its own.
bool is_border(const llama_vocab *vocab, int32_t token) {
    const enum llama_vocab_type type = llama_vocab_type(vocab);
    const bool cuts_pieces_alone = type == LLAMA_VOCAB_TYPE_BPE || type == LLAMA_VOCAB_TYPE_SPM;
    if (!cuts_pieces_alone || llama_vocab_get_add_eos(vocab) || !is_special(vocab, token) ||
        (llama_vocab_get_attr(vocab, token) & LLAMA_TOKEN_ATTR_RSTRIP) != 0) {
        return false;
    }
    const std::string_view text = llama_vocab_get_text(vocab, token);
    if (text.empty() || std::isspace(static_cast<unsigned char>(text.back())) != 0) {  // which others may strip
        return false;
    }
    for (int32_t other = 0; other < llama_vocab_n_tokens(vocab); other++) {
        if (other != token && is_special(vocab, other) && reaches_beyond(llama_vocab_get_text(vocab, other), text)) {
            return false;
        }
    }
    return true;
}

}  // namespace

int32_t hsk_token_is_border_get(const hsk_model *model, int32_t token, int32_t *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_vocabulary(model->vocab);
        hsk::require_token(model->vocab, token);
        *out = is_border(model->vocab, token) ? 1 : 0;
    });
}

int32_t hsk_tokenize(const hsk_model *model, const char *text, size_t n_bytes, int32_t add_special, int32_t parse_special,
                     int32_t *tokens, size_t capacity, size_t *n_tokens, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_vocabulary(model->vocab);
        hsk::require(n_bytes <= INT_MAX / 4 && capacity <= INT_MAX, "text is longer than 512 MiB");
        int32_t n = 0;
        try {
            n = llama_tokenize(model->vocab, text, static_cast<int32_t>(n_bytes), tokens, static_cast<int32_t>(capacity),
                               add_special != 0, parse_special != 0);
        } catch (const std::invalid_argument &) {
            // Other bytes that are not UTF-8 llama.cpp replaces; these it decodes, and then cannot encode again.
            throw hsk::Failure(HSK_INVALID_ARGUMENT, "the text holds a code point beyond U+10FFFF");
        }
        *n_tokens = static_cast<size_t>(n < 0 ? -static_cast<int64_t>(n) : n);
    });
}

int32_t hsk_detokenize(const hsk_model *model, const int32_t *tokens, size_t n_tokens, int32_t remove_special,
                       int32_t unparse_special, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_vocabulary(model->vocab);
        hsk::require(n_tokens <= INT_MAX / 8, "too many tokens");
        for (size_t i = 0; i < n_tokens; i++) {
            hsk::require_token(model->vocab, tokens[i]);
        }
        std::string text(n_tokens * 4 + 16, '\0');
        const auto read = [&] {
            return llama_detokenize(model->vocab, tokens, static_cast<int32_t>(n_tokens), text.data(),
                                    static_cast<int32_t>(text.size()), remove_special != 0, unparse_special != 0);
        };
        int32_t n_bytes = read();
        if (n_bytes < 0) {
            text.resize(static_cast<size_t>(-static_cast<int64_t>(n_bytes)));
            n_bytes = read();
        }
        hsk::give(out, std::string_view(text).substr(0, static_cast<size_t>(n_bytes)));
    });
}

int32_t hsk_token_bytes_get(const hsk_model *model, int32_t token, int32_t special, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_vocabulary(model->vocab);
        hsk::require_token(model->vocab, token);
        std::string piece(64, '\0');
        const auto read = [&] {
            return llama_token_to_piece(model->vocab, token, piece.data(), static_cast<int32_t>(piece.size()), 0, special != 0);
        };
        int32_t n_bytes = read();
        if (n_bytes < 0) {
            piece.resize(static_cast<size_t>(-n_bytes));
            n_bytes = read();
        }
        hsk::give(out, std::string_view(piece).substr(0, static_cast<size_t>(n_bytes)));
    });
}

int32_t hsk_infill_tokens_get(const hsk_model *model, int32_t *prefix, int32_t *suffix, int32_t *middle,
                              hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        require_vocabulary(model->vocab);
        *prefix = llama_vocab_fim_pre(model->vocab);
        *suffix = llama_vocab_fim_suf(model->vocab);
        *middle = llama_vocab_fim_mid(model->vocab);
        if (*prefix == LLAMA_TOKEN_NULL || *suffix == LLAMA_TOKEN_NULL || *middle == LLAMA_TOKEN_NULL) {
            throw hsk::Failure(HSK_UNSUPPORTED, "this model's vocabulary has no tokens for filling in the middle");
        }
    });
}

int32_t hsk_end_tokens_get(const hsk_model *model, uint8_t *is_end, size_t n_vocab, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require(n_vocab == static_cast<size_t>(llama_vocab_n_tokens(model->vocab)), "n_vocab is not the vocabulary's size");
        for (size_t i = 0; i < n_vocab; i++) {
            is_end[i] = llama_vocab_is_eog(model->vocab, static_cast<int32_t>(i)) ? 1 : 0;
        }
    });
}
