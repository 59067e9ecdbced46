#include "rpc.hpp"

#include "devices.hpp"
#include "guard.hpp"
#include "log.hpp"

#include "ggml-rpc.h"
#include "llama.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace {

// A client whose machine is gone without a word is noticed after a minute: until then the server is there for nobody else.
constexpr int silent_s = 30;
constexpr int ask_again_s = 10;
constexpr int n_asked = 3;

// Where this process's server keeps tensors; empty where it keeps none.
std::filesystem::path cache_folder;

// Whether a tensor that was kept is what its name says, which is llama.cpp's hash of it. A full disk, or an end in between, leaves
// a part of one, and llama.cpp takes that for the whole.
bool is_whole(const std::filesystem::path &file) {
    uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
    std::ifstream stream(file, std::ios::binary);
    std::vector<char> piece(size_t{1} << 20);
    while (stream) {
        stream.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        for (std::streamsize i = 0; i < stream.gcount(); i++) {
            hash = (hash ^ static_cast<uint8_t>(piece[static_cast<size_t>(i)])) * 0x100000001b3ULL;
        }
    }
    char name[17];
    std::snprintf(name, sizeof(name), "%016" PRIx64, hash);
    return file.filename() == name;
}

std::vector<ggml_backend_dev_t> offered() {
    const std::vector<ggml_backend_dev_t> gpus = hsk::gpus();
    return gpus.empty() ? hsk::devices_of(GGML_BACKEND_DEVICE_TYPE_CPU) : gpus;
}

void add_devices(const std::string &server, std::vector<ggml_backend_dev_t> &devices) {
    ggml_backend_reg_t reg = ggml_backend_rpc_add_server(server.c_str());
    if (reg == nullptr) {
        throw hsk::Failure(HSK_UNSUPPORTED, "the RPC server " + server + " offers no device");
    }
    for (size_t i = 0; i < ggml_backend_reg_dev_count(reg); i++) {
        devices.push_back(ggml_backend_reg_dev_get(reg, i));
    }
}

void set(int descriptor, int level, int name, int value) {
    setsockopt(descriptor, level, name, &value, sizeof(value));
}

void warn(ggml_log_level level, const char *text, void *) {
    if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR) {
        std::fputs(text, stderr);
        std::fflush(stderr);
    }
}

}  // namespace

namespace hsk {

std::vector<ggml_backend_dev_t> devices_with(std::string_view rpc_servers) {
    std::vector<ggml_backend_dev_t> devices;
    while (!rpc_servers.empty()) {
        const size_t comma = rpc_servers.find(',');
        add_devices(std::string(rpc_servers.substr(0, comma)), devices);
        rpc_servers.remove_prefix(comma == std::string_view::npos ? rpc_servers.size() : comma + 1);
    }
    if (devices.empty()) {
        return devices;
    }
    // First, as llama.cpp puts them: what goes from layer to layer crosses the network less often.
    for (ggml_backend_dev_t gpu : gpus()) {
        devices.push_back(gpu);
    }
    if (devices.size() > llama_max_devices()) {
        throw Failure(HSK_UNSUPPORTED, "a model can be spread over " + std::to_string(llama_max_devices()) +
                                           " devices at most, and the RPC servers and GPUs are " +
                                           std::to_string(devices.size()));
    }
    return devices;
}

std::string device_name(ggml_backend_dev_t device) {
    const std::string name = ggml_backend_dev_name(device);
    const bool is_elsewhere = ggml_backend_dev_backend_reg(device) == ggml_backend_rpc_reg();
    return is_elsewhere ? name + " (" + ggml_backend_dev_description(device) + ")" : name;
}

}  // namespace hsk

// llama.cpp's server never looks whether its client is still there. The linker sends it here (--wrap) for each new one.
extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names.
int __real_accept(int descriptor, struct sockaddr *address, socklen_t *n_bytes);
int __wrap_accept(int descriptor, struct sockaddr *address, socklen_t *n_bytes);

int __wrap_accept(int descriptor, struct sockaddr *address, socklen_t *n_bytes) {
    int client = -1;
    do {  // who hangs up before he is let in must not end the server
        client = __real_accept(descriptor, address, n_bytes);
    } while (client < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (client >= 0) {
        set(client, SOL_SOCKET, SO_KEEPALIVE, 1);
        set(client, IPPROTO_TCP, TCP_KEEPIDLE, silent_s);
        set(client, IPPROTO_TCP, TCP_KEEPINTVL, ask_again_s);
        set(client, IPPROTO_TCP, TCP_KEEPCNT, n_asked);
    }
    return client;
}
// NOLINTEND(bugprone-reserved-identifier)
}

// Its server asks this of a tensor that it may have kept, and of nothing else. The linker sends it here, as above.
std::filesystem::file_status real_status(const std::filesystem::path &, std::error_code &) noexcept
    __asm__("__real__ZNSt10filesystem6statusERKNS_7__cxx114pathERSt10error_code");
std::filesystem::file_status wrapped_status(const std::filesystem::path &, std::error_code &) noexcept
    __asm__("__wrap__ZNSt10filesystem6statusERKNS_7__cxx114pathERSt10error_code");

std::filesystem::file_status wrapped_status(const std::filesystem::path &path, std::error_code &error) noexcept {
    const std::filesystem::file_status status = real_status(path, error);
    if (cache_folder.empty() || !std::filesystem::is_regular_file(status) || path.parent_path() != cache_folder ||
        is_whole(path)) {
        return status;
    }
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    return std::filesystem::file_status(std::filesystem::file_type::not_found);
}

int32_t hsk_rpc_version(void) noexcept {
    return RPC_PROTO_MAJOR_VERSION << 8 | RPC_PROTO_MINOR_VERSION;
}

int32_t hsk_rpc_offer_get(hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::init_backend();
        hsk::give(out, hsk::describe(offered()).dump_safe());
    });
}

int32_t hsk_rpc_serve(const char *endpoint, const char *cache_dir, int32_t n_threads, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::require(endpoint != nullptr && n_threads > 0, "an endpoint and at least one thread are needed");
        hsk::init_backend();
        llama_log_set(warn, nullptr);
        std::vector<ggml_backend_dev_t> devices = offered();
        cache_folder = cache_dir == nullptr ? "" : cache_dir;
        ggml_backend_rpc_start_server(endpoint, cache_dir, static_cast<size_t>(n_threads), devices.size(), devices.data());
        throw hsk::Failure(HSK_INTERNAL, std::string("the RPC server on ") + endpoint + " has ended: " + hsk::logged_errors());
    });
}
