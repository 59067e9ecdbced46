// What llama.cpp's parsers do not bound themselves: they recurse once a level, and would overflow the stack.
#pragma once

#include <string_view>

namespace hsk {

/// Throws HSK_INVALID_GRAMMAR if the objects and arrays of a JSON text are nested deeper than 256 levels.
void require_json_depth(std::string_view json);

/// Whether the objects and arrays of a JSON value that may begin anywhere in the text are surely nested less deep than a parser can go.
/// With `has_single_quotes`, strings may be in single quotes too, as in Python.
bool is_shallow(std::string_view text, bool has_single_quotes);

/// Throws HSK_INVALID_GRAMMAR if the groups of a GBNF grammar are nested deeper than 256 levels, or if a repetition {m,n} has n < m
/// (llama.cpp would count from m down to n without end).
void require_sane_grammar(std::string_view grammar);

}  // namespace hsk
