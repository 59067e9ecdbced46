#include "utf8.hpp"

#include "common.h"  // llama.cpp's common

#include <algorithm>
#include <string>
#include <string_view>

namespace hsk {
namespace {

Utf8State first(uint8_t byte) {
    if (byte < 0x80) {
        return Utf8State::start;
    }
    if (byte >= 0xC2 && byte <= 0xDF) {
        return Utf8State::one_left;
    }
    if (byte >= 0xE0 && byte <= 0xEF) {
        return byte == 0xE0 ? Utf8State::after_e0 : byte == 0xED ? Utf8State::after_ed : Utf8State::two_left;
    }
    if (byte >= 0xF0 && byte <= 0xF4) {
        return byte == 0xF0 ? Utf8State::after_f0 : byte == 0xF4 ? Utf8State::after_f4 : Utf8State::three_left;
    }
    return Utf8State::broken;
}

// The table of well-formed byte sequences in the Unicode standard.
Utf8State next(Utf8State state, uint8_t byte) {
    const auto within = [&](uint8_t low, uint8_t high, Utf8State then) {
        return low <= byte && byte <= high ? then : Utf8State::broken;
    };
    switch (state) {
        case Utf8State::start: return first(byte);
        case Utf8State::one_left: return within(0x80, 0xBF, Utf8State::start);
        case Utf8State::two_left: return within(0x80, 0xBF, Utf8State::one_left);
        case Utf8State::three_left: return within(0x80, 0xBF, Utf8State::two_left);
        case Utf8State::after_e0: return within(0xA0, 0xBF, Utf8State::one_left);
        case Utf8State::after_ed: return within(0x80, 0x9F, Utf8State::one_left);
        case Utf8State::after_f0: return within(0x90, 0xBF, Utf8State::two_left);
        case Utf8State::after_f4: return within(0x80, 0x8F, Utf8State::two_left);
        default: return Utf8State::broken;
    }
}

Utf8State after_text(Utf8State state, std::string_view text) {
    for (const char byte : text) {
        state = next(state, static_cast<uint8_t>(byte));
    }
    return state;
}

bool begins_inside(std::string_view text) {
    return (static_cast<uint8_t>(text.front()) & 0xC0) == 0x80;
}

}  // namespace

Utf8State Utf8Tokens::after(Utf8State state, int32_t token) const {
    const Utf8State then = after_text(state, common_token_to_piece(vocab_, token, true));
    return then == Utf8State::broken ? Utf8State::start : then;
}

const std::vector<int32_t> &Utf8Tokens::breaking(Utf8State state) const {
    std::call_once(read_, [this] { read(); });
    return breaking_[static_cast<size_t>(state)];
}

void Utf8Tokens::read() const {
    for (int32_t token = 0; token < llama_vocab_n_tokens(vocab_); token++) {
        const std::string text = common_token_to_piece(vocab_, token, true);
        if (after_text(Utf8State::start, text) != Utf8State::broken) {
            continue;
        }
        for (size_t i = 0; i < breaking_.size(); i++) {
            const auto state = static_cast<Utf8State>(i);
            if (begins_inside(text) != (state == Utf8State::start) && after_text(state, text) == Utf8State::broken) {
                breaking_[i].push_back(token);
            }
        }
    }
}

}  // namespace hsk
