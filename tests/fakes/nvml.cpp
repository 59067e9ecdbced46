// NVML as far as we ask it, told by the text file FAKE_NVML what to say:
//
//     init CODE            what nvmlInit returns
//     delay MS             how long it takes
//     stuck                it takes until the file says something else
//     device USED M P      a device: bytes in use, what asking for its memory and for its processes returns
//     refused CODE         what asking for the last device itself returns
//     figures U P T E      of the last device: utilisation in %, power in mW, temperature, energy in mJ; else it tells none
//     process PID BYTES    one of the last device's processes; -1: the driver does not tell its share
//
// Without the variable no driver is loaded. fake_nvml_open counts the initialisations that were not shut
// down, fake_nvml_calls all of them.

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

enum { SUCCESS = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9 };

struct Memory { unsigned long long total, free, used; };
struct Process { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; };
struct Utilization { unsigned gpu, memory; };
struct Figures { unsigned utilisation, power, temperature; unsigned long long energy; bool are_told; };
struct Device { Figures figures {}; unsigned long long used = 0; int refused_code = 0, memory_code = 0, processes_code = 0; std::vector<Process> processes; };
struct State { int init = 0, delay_ms = 0; bool is_stuck = false; std::vector<Device> devices; };

static State state;

extern "C" {
int fake_nvml_open = 0;
int fake_nvml_calls = 0;
}

static State read_state() {
    State read;
    const char * path = std::getenv("FAKE_NVML");
    if (!path) {
        read.init = DRIVER_NOT_LOADED;
        return read;
    }
    std::ifstream file(path);
    std::string word;
    while (file >> word) {
        if (word == "init") {
            file >> read.init;
        } else if (word == "delay") {
            file >> read.delay_ms;
        } else if (word == "stuck") {
            read.is_stuck = true;
        } else if (word == "device") {
            Device & device = read.devices.emplace_back();
            file >> device.used >> device.memory_code >> device.processes_code;
        } else if (word == "refused") {
            file >> read.devices.back().refused_code;
        } else if (word == "figures") {
            Figures & figures = read.devices.back().figures;
            file >> figures.utilisation >> figures.power >> figures.temperature >> figures.energy;
            figures.are_told = true;
        } else if (word == "process") {
            long long pid, bytes;
            file >> pid >> bytes;
            read.devices.back().processes.push_back({ unsigned(pid), (unsigned long long) bytes, ~0u, ~0u });
        } else {
            std::abort();
        }
    }
    return read;
}

template <typename T> static int tell(Device * device, T * out, T value) {
    *out = value;
    return !fake_nvml_open ? UNINITIALIZED : device->figures.are_told ? SUCCESS : NOT_SUPPORTED;
}

extern "C" {

int nvmlInitWithFlags(unsigned) {
    fake_nvml_calls++;
    state = read_state();
    usleep(state.delay_ms * 1000);
    while (state.is_stuck) {
        usleep(1000);
        state = read_state();
    }
    fake_nvml_open += state.init == SUCCESS;
    return state.init;
}

int nvmlShutdown() {
    return fake_nvml_open > 0 ? fake_nvml_open--, SUCCESS : UNINITIALIZED;
}

int nvmlSystemGetDriverVersion(char * version, unsigned n) {
    std::strncpy(version, "580.65", n);
    return fake_nvml_open ? SUCCESS : UNINITIALIZED;
}

int nvmlSystemGetCudaDriverVersion(int * version) {
    *version = 13000;
    return fake_nvml_open ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetCount_v2(unsigned * count) {
    *count = unsigned(state.devices.size());
    return fake_nvml_open ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void ** handle) {
    *handle = &state.devices.at(index);
    return fake_nvml_open ? state.devices.at(index).refused_code : UNINITIALIZED;
}

int nvmlDeviceGetMemoryInfo(Device * device, Memory * memory) {
    *memory = { 1ull << 40, (1ull << 40) - device->used, device->used };
    return fake_nvml_open ? device->memory_code : UNINITIALIZED;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device * device, unsigned * count, Process * processes) {
    if (!fake_nvml_open || device->processes_code) {
        return fake_nvml_open ? device->processes_code : UNINITIALIZED;
    }
    const auto n = unsigned(device->processes.size());
    if (*count < n) {
        *count = n;
        return INSUFFICIENT_SIZE;
    }
    *count = n;
    if (n) {
        std::memcpy(processes, device->processes.data(), n * sizeof(Process));
    }
    return SUCCESS;
}

int nvmlDeviceGetName(Device *, char * name, unsigned n) {
    std::strncpy(name, "NVIDIA Fake", n);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device * device, Utilization * rates) {
    return tell(device, rates, Utilization { device->figures.utilisation, 0 });
}

int nvmlDeviceGetPowerUsage(Device * device, unsigned * milliwatts) {
    return tell(device, milliwatts, device->figures.power);
}

int nvmlDeviceGetTemperature(Device * device, int, unsigned * degrees) {
    return tell(device, degrees, device->figures.temperature);
}

int nvmlDeviceGetTotalEnergyConsumption(Device * device, unsigned long long * millijoules) {
    return tell(device, millijoules, device->figures.energy);
}
}
