#include "native.hpp"

#include "guard.hpp"
#include "log.hpp"

#include <string>

namespace hsk {
namespace {

bool on_node(void *data) {
    auto &control = *static_cast<Control *>(data);
    control.advance();
    return control.interrupted.load(std::memory_order_relaxed);
}

}  // namespace

native_context make_context(llama_model *model, const llama_context_params &params, const char *what) {
    native_context context(llama_init_from_model(model, params));
    if (!context) {
        throw Failure(HSK_INTERNAL, std::string("cannot create ") + what + ": " + logged_reason());
    }
    return context;
}

void Control::advance() {
    // One thread at a time writes it, so that the cheaper way to count is enough.
    progress.store(progress.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Control::attach(llama_context_params &params) {
    params.abort_callback = on_node;
    params.abort_callback_data = this;
}

}  // namespace hsk
