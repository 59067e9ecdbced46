// Samplers whose randomness depends on (seed, position) instead of on a running generator.
#pragma once

#include "llama.h"

#include <cstdint>

namespace hsk {

/// Replaces the random samplers of `chain` that can be replaced (the final draw and XTC) by ones that draw from `seed` and from how
/// many tokens the chain has accepted, so that a generation can be taken up again in the middle (DESIGN.md, decision 8).
/// Mirostat and adaptive-p keep llama.cpp's own generator: their state depends on every logit they saw.
void seed_by_position(llama_sampler *chain, uint64_t seed, float xtc_probability, float xtc_threshold, size_t min_keep);

}  // namespace hsk
