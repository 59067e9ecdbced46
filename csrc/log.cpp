#include "log.hpp"

#include "guard.hpp"

#include "ggml.h"
#include "llama.h"
#include "log.h"  // llama.cpp's common

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string_view>
#include <utility>

namespace hsk {
namespace {

constexpr size_t n_lines_max = 512;
constexpr size_t n_error_bytes_max = 1500;

struct Ring {
    std::mutex mutex;
    std::deque<std::pair<int32_t, std::string>> lines;
    std::string partial;
    int32_t partial_level = 0;
};

// Leaked on purpose: llama.cpp's threads may log while the process exits.
Ring &ring() {
    static Ring *instance = new Ring;
    return *instance;
}

std::atomic<int32_t> level_min{0};

// A loader logs on the thread that loads, so the tail of a failure is per thread.
thread_local std::string thread_errors;
thread_local bool thread_in_error = false;

void keep_error(ggml_log_level level, const char *text) {
    if (level != GGML_LOG_LEVEL_CONT) {
        thread_in_error = level == GGML_LOG_LEVEL_ERROR;
    }
    if (thread_in_error && thread_errors.size() < n_error_bytes_max) {
        thread_errors += text;
    }
}

void keep_line(ggml_log_level level, const char *text) {
    const int32_t wanted = level_min.load(std::memory_order_relaxed);
    if (wanted == 0) {
        return;
    }
    Ring &r = ring();
    const std::lock_guard<std::mutex> lock(r.mutex);
    if (level != GGML_LOG_LEVEL_CONT) {
        r.partial_level = level;
    }
    if (r.partial_level < wanted) {
        return;
    }
    r.partial += text;
    size_t newline;
    while ((newline = r.partial.find('\n')) != std::string::npos) {
        r.lines.emplace_back(r.partial_level, r.partial.substr(0, newline));
        r.partial.erase(0, newline + 1);
        if (r.lines.size() > n_lines_max) {
            r.lines.pop_front();
        }
    }
}

void on_log(ggml_log_level level, const char *text, void *) {
    try {
        keep_error(level, text);
        keep_line(level, text);
    } catch (...) {
        // A line lost to a failed allocation must not become an exception inside llama.cpp.
        thread_in_error = false;
    }
}

int print_or_log(FILE *stream, const char *format, va_list arguments) {
    if (stream != stderr) {
        return std::vfprintf(stream, format, arguments);
    }
    char text[1024];
    const int n_bytes = std::vsnprintf(text, sizeof(text), format, arguments);
    const std::string_view whole(text);
    on_log(GGML_LOG_LEVEL_ERROR, (std::string(whole.substr(0, whole.find('\n'))) + "\n").c_str(), nullptr);
    return n_bytes;
}

// ggml's own handler starts a debugger to print a backtrace, which can hang a service; the message is what is needed. That of CUDA
// only says that there was an error: which one, has been logged before.
void on_abort(const char *message) {
    const std::string logged = logged_errors();
    if (!logged.empty()) {
        std::fputs(logged.c_str(), stderr);
        std::fputc('\n', stderr);
    }
    std::fputs(message, stderr);
    std::fputc('\n', stderr);
    std::fflush(stderr);
}

}  // namespace

void install_log() {
    llama_log_set(on_log, nullptr);
    ggml_set_abort_callback(on_abort);
    // `common` reports failures by exception as well; its printing thread is never started.
    common_log_set_verbosity_thold(-1);
}

void clear_logged_errors() noexcept {
    thread_errors.clear();
}

std::string logged_errors() {
    std::string text = thread_errors;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.pop_back();
    }
    for (size_t i = 0; (i = text.find('\n', i)) != std::string::npos; i += 2) {
        text.replace(i, 1, "; ");
    }
    return text;
}

std::string logged_reason() {
    const std::string logged = logged_errors();
    return logged.empty() ? "llama.cpp gave no reason" : logged;
}

}  // namespace hsk

// llama.cpp's grammar parser and schema converter write why they fail straight to stderr. The linker sends every fprintf of this
// module here (--wrap): the first line becomes a log line, and so part of the error; the rest would be the caller's own text.
extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names.
int __wrap_fprintf(FILE *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___fprintf_chk(FILE *stream, int flag, const char *format, ...) __attribute__((format(printf, 3, 4)));

int __wrap_fprintf(FILE *stream, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int n_bytes = hsk::print_or_log(stream, format, arguments);
    va_end(arguments);
    return n_bytes;
}

// What fprintf is called where _FORTIFY_SOURCE is on.
int __wrap___fprintf_chk(FILE *stream, int, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int n_bytes = hsk::print_or_log(stream, format, arguments);
    va_end(arguments);
    return n_bytes;
}
// NOLINTEND(bugprone-reserved-identifier)
}

void hsk_log_level_set(int32_t level) noexcept {
    hsk::level_min.store(level < 0 ? 0 : level, std::memory_order_relaxed);
}

int32_t hsk_log_take(int32_t *level, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require(level != nullptr && out != nullptr, "level and out must not be NULL");
        *level = 0;
        *out = {nullptr, 0};
        hsk::Ring &r = hsk::ring();
        const std::lock_guard<std::mutex> lock(r.mutex);
        if (r.lines.empty()) {
            return;
        }
        hsk::give(out, r.lines.front().second);
        *level = r.lines.front().first;
        r.lines.pop_front();
    });
}
