// Everything a hsk_* function needs to be safe to call from C: failures, the guard that turns them into an hsk_error, and text.
#pragma once

#include "hoshikage.h"

#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace hsk {

/// A failure with the status the caller gets.
class Failure : public std::runtime_error {
  public:
    Failure(hsk_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    hsk_status status() const noexcept { return status_; }

  private:
    hsk_status status_;
};

/// Initialises llama.cpp once per process.
void init_backend();

/// What went wrong while the backends looked for devices, in their words; empty if nothing did. After init_backend().
const std::string &backend_problem();

/// Forgets the error lines llama.cpp logged on this thread; guarded() adds what came since to vague failures.
void clear_logged_errors() noexcept;

/// Fills `error` from the exception being handled.
int32_t report_current_exception(hsk_error *error) noexcept;

/// Gives `text` to the caller of C; hsk_text_free takes it back.
void give(hsk_text *out, std::string_view text);

/// Runs `body`; no exception leaves. Every hsk_* that can fail is one call of this.
template <typename Body> int32_t guarded(hsk_error *error, Body &&body) noexcept {
    try {
        clear_logged_errors();
        body();
        return HSK_OK;
    } catch (...) {
        return report_current_exception(error);
    }
}

/// Runs `body`; what llama.cpp throws there has this status.
template <typename Body> auto failing_with(hsk_status status, Body &&body) {
    try {
        return body();
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const Failure &) {
        throw;
    } catch (const std::exception &exception) {
        throw Failure(status, exception.what());
    }
}

/// Throws HSK_INVALID_ARGUMENT unless `condition`.
inline void require(bool condition, const char *message) {
    if (!condition) {
        throw Failure(HSK_INVALID_ARGUMENT, message);
    }
}

}  // namespace hsk
