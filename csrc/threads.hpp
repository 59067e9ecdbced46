// The threads a context computes on.
#pragma once

#include "handles.hpp"

#include "ggml-cpu.h"
#include "llama.h"

#include <chrono>
#include <future>
#include <memory>
#include <vector>

namespace hsk {

struct FreeThreads {
    void operator()(ggml_threadpool *pool) const { ggml_threadpool_free(pool); }
};
using Threads = std::unique_ptr<ggml_threadpool, FreeThreads>;

/// Threads that give way: fewer compute while other processes want their cores.
///
/// Threads that compute together wait for each other some hundred times a token, and ggml's spin meanwhile. Once one of them has to
/// share its core, all of them lose what it loses, and more: then the others alone are faster. Time that they were ready to run and
/// did not tells it: while they compute, each of them should use all of its time. Where a GPU or another machine computes too, they
/// wait for it, and that is no loss: all of them stay.
class Crew {
  public:
    /// Starts the threads, the caller's own counted in; they sleep until the first computation. Those that stay awake for a moment
    /// after one are sooner at the next, and in the way of others.
    Crew(const hsk_model &model, int32_t n_threads, int32_t n_threads_batch, bool stays_awake = true);

    /// To be called once, before the first computation; the context must go before the crew.
    void attach(llama_context *context);

    /// llama_decode or llama_encode, whose result it returns.
    int32_t compute(llama_context *context, const llama_batch &batch, int32_t (*function)(llama_context *, llama_batch));

    /// Lets the threads sleep now, as others are about to compute.
    void rest();

  private:
    using Clock = std::chrono::steady_clock;

    /// What was seen of computations with the same number of threads.
    struct Window {
        int32_t n_threads = 0;
        double wall_s = 0;
        double cpu_s = 0;
    };

    void note(int32_t n_threads, double wall_s, double cpu_s);
    void adapt(llama_context *context);
    void look_first(llama_context *context);
    void look_for_a_core(llama_context *context);
    void wait_longer(bool than_before);
    void limit(llama_context *context, int32_t n_threads);
    Threads make_threads(int32_t n_threads) const;

    int32_t n_threads_;
    int32_t n_threads_batch_;
    int32_t limit_;
    bool stays_awake_;
    bool gives_way_;
    Threads pool_;
    Threads pool_batch_;            // none: the same
    std::vector<Threads> retired_;  // ggml looks at the pools of the computation before once more
    Window window_;
    bool has_tried_ = false;  // one thread more than was good before, and nothing was seen of it yet
    std::future<double> probe_;
    Clock::time_point try_at_;
    double patience_s_;
};

}  // namespace hsk
