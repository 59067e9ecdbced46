// Which tokens would break a character. A grammar of llama.cpp reads bytes that are no UTF-8 as characters: E0 82 80 for one, or
// half of a surrogate pair. In the text they are U+FFFD, and then lengths and patterns of the grammar mean nothing.
#pragma once

#include "llama.h"

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

namespace hsk {

/// Where in a character a text ends: what the next byte may be, and how many follow it. The last one is no UTF-8.
enum class Utf8State : uint8_t { start, one_left, two_left, three_left, after_e0, after_ed, after_f0, after_f4, broken };

/// The bytes of a vocabulary's tokens, looked at when they are first asked for. Any thread.
class Utf8Tokens {
  public:
    explicit Utf8Tokens(const llama_vocab *vocab) : vocab_(vocab) {}

    /// Where a text ends that a token was added to; a text that is no UTF-8 is taken to begin anew.
    Utf8State after(Utf8State state, int32_t token) const;

    /// The tokens that must not come next, but for those that a grammar refuses by itself: it knows where characters begin.
    const std::vector<int32_t> &breaking(Utf8State state) const;

  private:
    void read() const;

    const llama_vocab *vocab_;
    mutable std::once_flag read_;
    mutable std::array<std::vector<int32_t>, static_cast<size_t>(Utf8State::broken)> breaking_;
};

}  // namespace hsk
