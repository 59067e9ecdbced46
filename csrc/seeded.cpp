#include "seeded.hpp"

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace hsk {
namespace {

using Make = std::function<llama_sampler *(uint32_t)>;

struct Seeded {
    std::string name;
    Make make;
    uint64_t seed;
    uint64_t position = 0;
    uint32_t attempt = 0;  // a grammar may reject a draw; the next one at the same position must be independent
};

// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
uint64_t mix(uint64_t x) {
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

uint32_t draw_seed(const Seeded &seeded) {
    const auto seed = static_cast<uint32_t>(mix(mix(seeded.seed ^ mix(seeded.position)) + seeded.attempt) >> 32);
    return seed == LLAMA_DEFAULT_SEED ? 0 : seed;  // that value asks llama.cpp for a random seed
}

Seeded &state(llama_sampler *sampler) {
    return *static_cast<Seeded *>(sampler->ctx);
}

const char *seeded_name(const llama_sampler *sampler) {
    return static_cast<const Seeded *>(sampler->ctx)->name.c_str();
}

void seeded_accept(llama_sampler *sampler, llama_token) {
    Seeded &seeded = state(sampler);
    seeded.position++;
    seeded.attempt = 0;
}

void seeded_apply(llama_sampler *sampler, llama_token_data_array *candidates) {
    Seeded &seeded = state(sampler);
    const std::unique_ptr<llama_sampler, decltype(&llama_sampler_free)> inner(seeded.make(draw_seed(seeded)), llama_sampler_free);
    seeded.attempt++;
    llama_sampler_apply(inner.get(), candidates);
}

void seeded_reset(llama_sampler *sampler) {
    Seeded &seeded = state(sampler);
    seeded.position = 0;
    seeded.attempt = 0;
}

void seeded_free(llama_sampler *sampler) {
    delete static_cast<Seeded *>(sampler->ctx);
}

llama_sampler *seeded_clone(const llama_sampler *sampler);

llama_sampler *seeded_init(Seeded seeded) {
    static llama_sampler_i iface = [] {
        llama_sampler_i functions{};
        functions.name = seeded_name;
        functions.accept = seeded_accept;
        functions.apply = seeded_apply;
        functions.reset = seeded_reset;
        functions.clone = seeded_clone;
        functions.free = seeded_free;
        return functions;
    }();
    return llama_sampler_init(&iface, new Seeded(std::move(seeded)));
}

llama_sampler *seeded_clone(const llama_sampler *sampler) {
    return seeded_init(*static_cast<const Seeded *>(sampler->ctx));
}

}  // namespace

void seed_by_position(llama_sampler *chain, uint64_t seed, float xtc_probability, float xtc_threshold, size_t min_keep) {
    // Taking each sampler from the front and adding it at the back keeps their order.
    const int32_t n_samplers = llama_sampler_chain_n(chain);
    for (int32_t i = 0; i < n_samplers; i++) {
        llama_sampler *sampler = llama_sampler_chain_remove(chain, 0);
        const std::string name = llama_sampler_name(sampler);
        Make make;
        uint64_t salt = 0;  // two samplers of one chain must not draw the same number
        if (name == "dist") {
            make = [](uint32_t draw) { return llama_sampler_init_dist(draw); };
        } else if (name == "xtc") {
            salt = 1;
            make = [=](uint32_t draw) { return llama_sampler_init_xtc(xtc_probability, xtc_threshold, min_keep, draw); };
        }
        if (make) {
            llama_sampler_free(sampler);
            sampler = seeded_init({"seeded-" + name, std::move(make), mix(mix(seed) + salt)});
        }
        llama_sampler_chain_add(chain, sampler);
    }
}

}  // namespace hsk
