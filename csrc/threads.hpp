// The threads a context computes on.
#pragma once

#include "ggml-cpu.h"

#include <memory>

namespace hsk {

struct FreeThreads {
    void operator()(ggml_threadpool *pool) const { ggml_threadpool_free(pool); }
};
using Threads = std::unique_ptr<ggml_threadpool, FreeThreads>;

/// Starts the threads, the caller's own counted in; they sleep until the first computation.
Threads make_threads(int32_t n_threads);

}  // namespace hsk
