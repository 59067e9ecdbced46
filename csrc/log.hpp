// llama.cpp's log: a ring for Python to read, and the error lines of the running call for its message.
#pragma once

#include <string>

namespace hsk {

/// Points llama.cpp's and ggml's logging at the ring, and keeps llama.cpp's `common` from printing.
void install_log();

/// The error lines logged on this thread since clear_logged_errors(), joined.
std::string logged_errors();

/// The same, or that there are none: why llama.cpp refused something.
std::string logged_reason();

}  // namespace hsk
