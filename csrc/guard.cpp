#include "guard.hpp"

#include "log.hpp"

#include "llama.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace hsk {
namespace {

void fill(hsk_error *error, int32_t status, std::string_view message) noexcept {
    if (error == nullptr) {
        return;
    }
    size_t n_bytes = message.size();
    if (n_bytes >= sizeof(error->message)) {
        n_bytes = sizeof(error->message) - 1;
        while (n_bytes > 0 && (static_cast<unsigned char>(message[n_bytes]) & 0xC0U) == 0x80U) {
            n_bytes--;  // do not cut a UTF-8 character in two
        }
    }
    error->status = status;
    std::memcpy(error->message, message.data(), n_bytes);
    error->message[n_bytes] = '\0';
}

std::string &problem() {
    static std::string text;
    return text;
}

// llama.cpp says only in words that an allocation failed, and its loader and its contexts say no more than that they failed: the
// words are those of its backends (ggml-cuda.cu, ggml-backend.cpp, ggml-alloc.c) and its buffers.
bool tells_of_allocation(std::string_view message) {
    for (const std::string_view words :
         {"out of memory", "cudaMalloc failed", "failed to allocate", "unable to allocate", "insufficient memory"}) {
        if (message.find(words) != std::string_view::npos) {
            return true;
        }
    }
    return false;
}

int32_t exact_status(int32_t status, std::string_view message) {
    const bool is_vague = status == HSK_INTERNAL || status == HSK_MODEL_LOAD_FAILED;
    return is_vague && tells_of_allocation(message) ? HSK_OUT_OF_MEMORY : status;
}

}  // namespace

void init_backend() {
    static std::once_flag once;
    std::call_once(once, [] {
        install_log();
        llama_backend_init();
        // A GPU backend without a GPU logs that as an error; the call that happens to be the first did not fail of it.
        problem() = logged_errors();
        clear_logged_errors();
    });
}

const std::string &backend_problem() {
    return problem();
}

int32_t report_current_exception(hsk_error *error) noexcept {
    try {
        try {
            throw;
        } catch (const Failure &failure) {
            const int32_t status = exact_status(failure.status(), failure.what());
            fill(error, status, failure.what());
            return status;
        } catch (const std::bad_alloc &) {
            fill(error, HSK_OUT_OF_MEMORY, "out of memory");
            return HSK_OUT_OF_MEMORY;
        } catch (const std::exception &exception) {
            // what() may be no more than "std::exception": llama.cpp says the rest in its log.
            std::string message = exception.what();
            const std::string logged = logged_errors();
            if (!logged.empty()) {
                message += ": " + logged;
            }
            const int32_t status = exact_status(HSK_INTERNAL, message);
            fill(error, status, message);
            return status;
        }
    } catch (...) {
        fill(error, HSK_INTERNAL, "unknown C++ exception");
        return HSK_INTERNAL;
    }
}

void give(hsk_text *out, std::string_view text) {
    require(out != nullptr, "out must not be NULL");
    char *data = static_cast<char *>(std::malloc(text.size() + 1));
    if (data == nullptr) {
        throw std::bad_alloc();
    }
    std::memcpy(data, text.data(), text.size());
    data[text.size()] = '\0';
    *out = {data, text.size()};
}

}  // namespace hsk

void hsk_text_free(hsk_text *text) noexcept {
    if (text != nullptr) {
        std::free(text->data);
        *text = {nullptr, 0};
    }
}
