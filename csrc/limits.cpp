#include "limits.hpp"

#include "guard.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

namespace hsk {
namespace {

constexpr int depth_max = 256;
constexpr int parsed_depth_max = 500;  // a level takes 2 KiB of stack
constexpr int nowhere = -1;

// The position after a quoted literal or character class that begins at `begin`.
size_t skip_quoted(std::string_view text, size_t begin, char close) {
    for (size_t i = begin + 1; i < text.size(); i++) {
        if (text[i] == '\\') {
            i++;
        } else if (text[i] == close) {
            return i + 1;
        }
    }
    return text.size();
}

void require_depth(int depth, const char *what) {
    if (depth > depth_max) {
        throw Failure(HSK_INVALID_GRAMMAR, std::string(what) + " is nested deeper than 256 levels");
    }
}

// The repetition that begins with the brace at `begin`, if it is one with both bounds.
void require_repetition(std::string_view grammar, size_t begin) {
    const size_t comma = grammar.find(',', begin);
    const size_t end = grammar.find('}', begin);
    if (end == std::string_view::npos || comma > end) {
        return;
    }
    const std::string low(grammar.substr(begin + 1, comma - begin - 1));
    const std::string high(grammar.substr(comma + 1, end - comma - 1));
    const bool is_bounded = high.find_first_of("0123456789") != std::string::npos;
    if (is_bounded && std::strtoull(high.c_str(), nullptr, 10) < std::strtoull(low.c_str(), nullptr, 10)) {
        throw Failure(HSK_INVALID_GRAMMAR, "the repetition {" + low + "," + high + "} ends below its beginning");
    }
}

}  // namespace

void require_json_depth(std::string_view json) {
    int depth = 0;
    for (size_t i = 0; i < json.size();) {
        if (json[i] == '"') {
            i = skip_quoted(json, i, '"');
            continue;
        }
        depth += json[i] == '[' || json[i] == '{' ? 1 : json[i] == ']' || json[i] == '}' ? -1 : 0;
        require_depth(depth, "the schema");
        i++;
    }
}

// Nobody knows where the value begins, nor so which quotes open a string: the deepest of all possible readings counts.
bool is_shallow(std::string_view text, bool has_single_quotes) {
    int outside = nowhere;
    int in_string[2] = {nowhere, nowhere};  // in double and in single quotes
    int in_escape[2] = {nowhere, nowhere};
    for (const char c : text) {
        const int escaped[2] = {in_escape[0], in_escape[1]};
        in_escape[0] = in_escape[1] = nowhere;
        if (c == '\\') {
            std::swap(in_escape, in_string);
        } else if (c == '"') {
            std::swap(outside, in_string[0]);
        } else if (c == '\'' && has_single_quotes) {
            // Also an apostrophe outside of strings.
            const int before = outside;
            outside = std::max(outside, in_string[1]);
            in_string[1] = before;
        } else if (c == '[' || c == '{') {
            outside = std::max(outside, 0) + 1;
        } else if ((c == ']' || c == '}') && outside != nowhere) {
            outside--;
        }
        for (int quote = 0; quote < 2; quote++) {
            in_string[quote] = std::max(in_string[quote], escaped[quote]);
        }
        if (outside > parsed_depth_max) {
            return false;
        }
    }
    return true;
}

void require_sane_grammar(std::string_view grammar) {
    int depth = 0;
    for (size_t i = 0; i < grammar.size();) {
        switch (grammar[i]) {
            case '"': i = skip_quoted(grammar, i, '"'); continue;
            case '[': i = skip_quoted(grammar, i, ']'); continue;
            case '#': i = std::min(grammar.find('\n', i), grammar.size()); continue;
            case '(': depth++; break;
            case ')': depth--; break;
            case '{': require_repetition(grammar, i); break;
            default: break;
        }
        require_depth(depth, "the grammar");
        i++;
    }
}

}  // namespace hsk
