#include "threads.hpp"

#include "guard.hpp"

#include <algorithm>
#include <ctime>
#include <exception>
#include <future>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace hsk {
namespace {

// How long threads look out for the next graph before they sleep, of 100: some milliseconds, more than lies between two tokens.
constexpr uint32_t polling = 1;

constexpr double window_s = 0.1;        // many time slices of a scheduler: short bursts of others are no reason
constexpr double look_s = 0.02;         // for how long a thread looks whether a core is free
constexpr double look_first_s = 0.01;   // the same where a computation waits for it
constexpr int32_t many_tokens = 64;     // take so long that such a look costs nothing
constexpr double missing_share = 0.3;   // of one thread's time; what serves the answer beside it takes less
constexpr double free_share = 0.85;     // of a core's time: so much of it makes the core free
constexpr double patience_min_s = 0.1;  // before one thread more is tried
constexpr double patience_max_s = 2;

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
        throw Failure(HSK_INTERNAL, "cannot start " + std::to_string(n_threads) + " threads");
    }
}

double cpu_now_s(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds(std::chrono::steady_clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
}

// How much of a core a thread gets that never waits.
double share_of_a_core(double for_s) {
    const auto begun = std::chrono::steady_clock::now();
    const double cpu_begun_s = cpu_now_s(CLOCK_THREAD_CPUTIME_ID);
    double wall_s = 0;
    while (wall_s < for_s) {
        wall_s = seconds(std::chrono::steady_clock::now() - begun);
    }
    return (cpu_now_s(CLOCK_THREAD_CPUTIME_ID) - cpu_begun_s) / wall_s;
}

}  // namespace

Crew::Crew(const hsk_model &model, int32_t n_threads, int32_t n_threads_batch, bool stays_awake)
    : n_threads_(n_threads), n_threads_batch_(n_threads_batch), limit_(std::max(n_threads, n_threads_batch)),
      stays_awake_(stays_awake), gives_way_(model.n_gpu_layers == 0), pool_(make_threads(n_threads)),
      pool_batch_(n_threads_batch == n_threads ? nullptr : make_threads(n_threads_batch)), patience_s_(patience_min_s) {}

void Crew::attach(llama_context *context) {
    llama_set_n_threads(context, std::min(n_threads_, limit_), std::min(n_threads_batch_, limit_));
    llama_attach_threadpool(context, pool_.get(), pool_batch_ ? pool_batch_.get() : pool_.get());
}

int32_t Crew::compute(llama_context *context, const llama_batch &batch, int32_t (*function)(llama_context *, llama_batch)) {
    if (gives_way_ && batch.n_tokens >= many_tokens) {
        look_first(context);
    }
    const Clock::time_point begun = Clock::now();
    const double cpu_begun_s = cpu_now_s(CLOCK_PROCESS_CPUTIME_ID);
    const int32_t status = function(context, batch);
    if (status != 0) {
        return status;  // it may have found no room before it came to the pools
    }
    retired_.clear();
    if (gives_way_) {
        note(std::min(batch.n_tokens == 1 ? n_threads_ : n_threads_batch_, limit_), seconds(Clock::now() - begun),
             cpu_now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu_begun_s);
        adapt(context);
    }
    return status;
}

void Crew::rest() {
    ggml_threadpool_pause(pool_.get());
    if (pool_batch_) {
        ggml_threadpool_pause(pool_batch_.get());
    }
}

void Crew::note(int32_t n_threads, double wall_s, double cpu_s) {
    if (window_.n_threads != n_threads) {
        window_ = {n_threads};
    }
    window_.wall_s += wall_s;
    window_.cpu_s += cpu_s;
}

void Crew::adapt(llama_context *context) {
    if (window_.wall_s < window_s) {
        return;
    }
    const Window seen = std::exchange(window_, {});
    const double missing_s = seen.n_threads * seen.wall_s - seen.cpu_s;
    if (seen.n_threads > 1 && missing_s > missing_share * seen.wall_s) {
        wait_longer(has_tried_);
        has_tried_ = false;
        limit(context, seen.n_threads - 1);
        return;
    }
    has_tried_ = has_tried_ && limit_ != seen.n_threads;
    if (limit_ < std::max(n_threads_, n_threads_batch_)) {
        look_for_a_core(context);
    }
}

// With too few threads a long computation would be slow to its end.
void Crew::look_first(llama_context *context) {
    while (limit_ < std::max(n_threads_, n_threads_batch_)) {
        try {
            std::future<double> other = std::async(std::launch::async, share_of_a_core, look_first_s);
            if (std::min(share_of_a_core(look_first_s), other.get()) < free_share) {
                return;
            }
        } catch (const std::system_error &) {
            return;  // no thread can be started now
        }
        has_tried_ = true;
        limit(context, limit_ + 1);
    }
}

// A thread of no use goes first: it loses nothing but its own time, where one that others wait for would cost seconds.
void Crew::look_for_a_core(llama_context *context) {
    if (!probe_.valid() && Clock::now() >= try_at_) {
        try {
            probe_ = std::async(std::launch::async, share_of_a_core, look_s);
        } catch (const std::system_error &) {
            wait_longer(true);  // no thread can be started now
        }
    } else if (probe_.valid() && probe_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
        if (probe_.get() < free_share) {
            wait_longer(true);
        } else {
            has_tried_ = true;
            limit(context, limit_ + 1);
        }
    }
}

void Crew::wait_longer(bool than_before) {
    patience_s_ = than_before ? std::min(2 * patience_s_, patience_max_s) : patience_min_s;
    try_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(patience_s_));
}

void Crew::limit(llama_context *context, int32_t n_threads) {
    const int32_t before = std::exchange(limit_, n_threads);
    try {
        const bool is_same = std::min(n_threads_, n_threads) == std::min(n_threads_batch_, n_threads);
        Threads pool = make_threads(std::min(n_threads_, n_threads));
        Threads pool_batch = is_same ? nullptr : make_threads(std::min(n_threads_batch_, n_threads));
        retired_.reserve(retired_.size() + 2);
        retired_.push_back(std::exchange(pool_, std::move(pool)));
        retired_.push_back(std::exchange(pool_batch_, std::move(pool_batch)));
    } catch (const Failure &) {
        limit_ = before;  // no thread can be started: as before, then
    }
    attach(context);
}

Threads Crew::make_threads(int32_t n_threads) const {
    require_threads(n_threads);
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.paused = true;  // until the first graph: otherwise they wait for it in a busy loop while the context is made
    params.poll = stays_awake_ ? polling : 0;
    Threads threads(ggml_threadpool_new(&params));
    if (!threads) {
        throw Failure(HSK_INTERNAL, "cannot start " + std::to_string(n_threads) + " threads");
    }
    return threads;
}

}  // namespace hsk
