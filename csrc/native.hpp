// A context of llama.cpp's own, and what other threads see of the computation in it.
#pragma once

#include "llama.h"

#include <atomic>
#include <cstdint>
#include <memory>

namespace hsk {

struct FreeContext {
    void operator()(llama_context *context) const { llama_free(context); }
};
using native_context = std::unique_ptr<llama_context, FreeContext>;

/// Makes `what`; throws what llama.cpp says against it.
native_context make_context(llama_model *model, const llama_context_params &params, const char *what = "the context");

/// What other threads see of a computation, and how they end it. It outlives the contexts that it is attached to.
struct Control {
    std::atomic<bool> interrupted{false};
    std::atomic<uint64_t> progress{0};

    /// Counts; one thread at a time.
    void advance();

    /// Has the CPU backend count after each node of a graph, and end a computation that is interrupted.
    void attach(llama_context_params &params);
};

}  // namespace hsk
