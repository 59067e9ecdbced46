// What llama.cpp's parsers do not bound themselves: they recurse once a level, and would overflow the stack.
#pragma once

#include <string_view>

namespace hsk {

/// Throws HSK_INVALID_GRAMMAR if the objects and arrays of a JSON text are nested deeper than 256 levels.
void require_json_depth(std::string_view json);

/// Throws HSK_INVALID_GRAMMAR if the groups of a GBNF grammar are nested deeper than 256 levels, or if a repetition {m,n} has n < m
/// (llama.cpp would count from m down to n without end).
void require_sane_grammar(std::string_view grammar);

}  // namespace hsk
