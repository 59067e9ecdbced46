#include "threads.hpp"

#include "guard.hpp"

#include <exception>
#include <future>
#include <thread>
#include <vector>

namespace hsk {
namespace {

// ggml ends the process when it cannot start a thread, as where a limit on processes or memory is near: so they are tried first.
void require_threads(int32_t n_threads) {
    std::promise<void> gate;
    const std::shared_future<void> opened(gate.get_future());
    std::vector<std::thread> threads;
    bool all_started = true;
    try {
        threads.reserve(static_cast<size_t>(n_threads));
        for (int32_t i = 1; i < n_threads; i++) {
            threads.emplace_back([opened] { opened.wait(); });
        }
    } catch (const std::exception &) {
        all_started = false;
    }
    gate.set_value();
    for (std::thread &thread : threads) {
        thread.join();
    }
    if (!all_started) {
        throw Failure(HSK_OUT_OF_MEMORY, "cannot start " + std::to_string(n_threads) + " threads");
    }
}

}  // namespace

Threads make_threads(int32_t n_threads) {
    require_threads(n_threads);
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.paused = true;  // until the first graph: otherwise they wait for it in a busy loop while the context is made
    Threads threads(ggml_threadpool_new(&params));
    if (!threads) {
        throw Failure(HSK_OUT_OF_MEMORY, "cannot start " + std::to_string(n_threads) + " threads");
    }
    return threads;
}

}  // namespace hsk
