// What the memory of a context holds of its sequences, and how far it can go back.
#pragma once

#include "context.hpp"

namespace hsk {

/// Throws unless the sequence is one of the context's.
void require_sequence(const hsk_context &context, int32_t seq_id);

/// How many positions a sequence holds.
int32_t sequence_end(const hsk_context &context, int32_t seq_id);

/// The fewest first positions, but for none at all, that the sequence can go back to.
int32_t sequence_reach(const hsk_context &context, int32_t seq_id);

/// Lets a sequence hold its first n positions; false where the memory cannot do that.
bool cut(hsk_context &context, int32_t seq_id, int32_t n);

/// Lets a sequence hold nothing.
void clear(hsk_context &context, int32_t seq_id);

}  // namespace hsk
