// What the logits say that a step has kept: which token comes next, and how probable tokens are.
#pragma once

#include "context.hpp"

namespace hsk {

/// Samples for a slot of the step, and goes on as long as its guesses are what was sampled; then forgets those that were not. A
/// sampler that fails leaves its error in the slot.
void sample_slot(hsk_context &context, hsk_slot &slot, hsk_error *error);

}  // namespace hsk
