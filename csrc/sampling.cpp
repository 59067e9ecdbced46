#include "sampling.h"  // llama.cpp's common

#include "guard.hpp"
#include "handles.hpp"
#include "limits.hpp"
#include "log.hpp"
#include "seeded.hpp"

#include "json-schema-to-grammar.h"
#include "json.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using Sampling = common_params_sampling;

template <typename T> void read(const common_json &params, const char *key, T &value) {
    if (!params.contains(key)) {
        return;
    }
    try {
        value = params.at(key).get<T>();
    } catch (const common_json_error &) {
        throw hsk::Failure(HSK_INVALID_ARGUMENT, std::string(key) + " has the wrong type");
    }
}

void read_numbers(const common_json &params, Sampling &sampling) {
    read(params, "temperature", sampling.temp);
    read(params, "dynatemp_range", sampling.dynatemp_range);
    read(params, "dynatemp_exponent", sampling.dynatemp_exponent);
    read(params, "top_k", sampling.top_k);
    read(params, "top_p", sampling.top_p);
    read(params, "min_p", sampling.min_p);
    read(params, "typical_p", sampling.typ_p);
    read(params, "top_n_sigma", sampling.top_n_sigma);
    read(params, "min_keep", sampling.min_keep);
    read(params, "xtc_probability", sampling.xtc_probability);
    read(params, "xtc_threshold", sampling.xtc_threshold);
    read(params, "repeat_last_n", sampling.penalty_last_n);
    read(params, "repeat_penalty", sampling.penalty_repeat);
    read(params, "frequency_penalty", sampling.penalty_freq);
    read(params, "presence_penalty", sampling.penalty_present);
    read(params, "dry_multiplier", sampling.dry_multiplier);
    read(params, "dry_base", sampling.dry_base);
    read(params, "dry_allowed_length", sampling.dry_allowed_length);
    read(params, "dry_penalty_last_n", sampling.dry_penalty_last_n);
    read(params, "dry_sequence_breakers", sampling.dry_sequence_breakers);
    read(params, "mirostat", sampling.mirostat);
    read(params, "mirostat_tau", sampling.mirostat_tau);
    read(params, "mirostat_eta", sampling.mirostat_eta);
    read(params, "adaptive_target", sampling.adaptive_target);
    read(params, "adaptive_decay", sampling.adaptive_decay);
}

void read_order(const common_json &params, Sampling &sampling) {
    if (!params.contains("samplers")) {
        return;
    }
    std::vector<std::string> names;
    read(params, "samplers", names);
    // One by one: common_sampler_types_from_names() drops a name it does not know.
    sampling.samplers.clear();
    for (const std::string &name : names) {
        const auto types = common_sampler_types_from_names({name});
        if (types.empty()) {
            throw hsk::Failure(HSK_INVALID_ARGUMENT, "samplers: llama.cpp knows no sampler \"" + name + "\"");
        }
        sampling.samplers.push_back(types.front());
    }
}

std::vector<int32_t> end_tokens(const llama_vocab *vocab) {
    std::vector<int32_t> tokens;
    for (int32_t token = 0; token < llama_vocab_n_tokens(vocab); token++) {
        if (llama_vocab_is_eog(vocab, token)) {
            tokens.push_back(token);
        }
    }
    return tokens;
}

void read_bias(const common_json &params, const llama_vocab *vocab, Sampling &sampling) {
    if (params.contains("logit_bias")) {
        // Pairs: an object of so many keys takes llama.cpp's JSON seconds to read.
        for (const auto &pair : params.at("logit_bias")) {
            const int32_t token = pair.at(0).get<int32_t>();
            hsk::require_token(vocab, token);
            // JSON has no infinity: null bans the token.
            const float bias = pair.at(1).is_null() ? -INFINITY : pair.at(1).get<float>();
            sampling.logit_bias.push_back({token, bias});
        }
    }
    read(params, "ignore_eos", sampling.ignore_eos);
    if (sampling.ignore_eos) {
        for (const int32_t token : end_tokens(vocab)) {
            sampling.logit_bias.push_back({token, -INFINITY});
        }
    }
}

// How many tokens of the prompt are in a reasoning block that it has opened. llama.cpp counts them as the model's, and with a
// budget of 0 takes the first of them for the end tag that it wants to force: then it forces none.
int32_t n_opening(const llama_vocab *vocab, const Sampling &sampling) {
    const llama_tokens opening = common_tokenize(vocab, sampling.generation_prompt, false, true);
    const auto last = [&](const llama_tokens &tag) {
        return std::find_end(opening.begin(), opening.end(), tag.begin(), tag.end());
    };
    const llama_tokens &start_tag = sampling.reasoning_budget_start;
    const auto start = last(start_tag);
    if (start == opening.end()) {
        return 0;
    }
    for (const llama_tokens &end_tag : sampling.reasoning_budget_end) {
        const auto end = last(end_tag);
        if (end != opening.end() && end > start) {
            return 0;
        }
    }
    return static_cast<int32_t>(opening.end() - start) - static_cast<int32_t>(start_tag.size());
}

// The reasoning block's tags; a budget of -1 is none. llama.cpp makes the sampler that watches the block where there is a
// budget, or a lazy grammar: what triggers it counts only outside of the block.
void read_reasoning(const common_json &params, const llama_vocab *vocab, Sampling &sampling) {
    std::string start_tag;
    std::vector<std::string> end_tags;
    read(params, "thinking_start_tag", start_tag);
    read(params, "thinking_end_tags", end_tags);
    read(params, "thinking_budget", sampling.reasoning_budget_tokens);
    read(params, "generation_prompt", sampling.generation_prompt);
    if (start_tag.empty()) {
        return;
    }
    sampling.reasoning_budget_start = common_tokenize(vocab, start_tag, false, true);
    for (const std::string &end_tag : end_tags) {
        if (!end_tag.empty()) {
            sampling.reasoning_budget_end.push_back(common_tokenize(vocab, end_tag, false, true));
        }
    }
    if (!sampling.reasoning_budget_end.empty()) {
        sampling.reasoning_budget_forced = sampling.reasoning_budget_end.front();
    }
    int32_t &budget = sampling.reasoning_budget_tokens;
    if (budget >= 0) {
        budget += std::min(n_opening(vocab, sampling), INT32_MAX - budget);
    }
}

bool has_budget(const Sampling &sampling) {
    return sampling.reasoning_budget_tokens >= 0 && !sampling.reasoning_budget_start.empty() &&
           !sampling.reasoning_budget_end.empty();
}

// Texts that one token stands for are kept whole and trigger as that token, as llama-server does it.
void read_triggers(const common_json &params, const llama_vocab *vocab, Sampling &sampling) {
    std::vector<std::string> preserved;
    read(params, "preserved_tokens", preserved);
    for (const std::string &text : preserved) {
        const auto ids = common_tokenize(vocab, text, false, true);
        if (ids.size() == 1) {
            sampling.preserved_tokens.insert(ids[0]);
        }
    }
    if (!params.contains("grammar_triggers")) {
        return;
    }
    for (const auto &item : params.at("grammar_triggers").items()) {
        common_grammar_trigger trigger;
        trigger.type = static_cast<common_grammar_trigger_type>(item.value().at("type").get<int>());
        trigger.value = item.value().at("value").get<std::string>();
        if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD) {
            const auto ids = common_tokenize(vocab, trigger.value, false, true);
            if (ids.size() == 1 && sampling.preserved_tokens.count(ids[0]) != 0) {
                trigger.type = COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN;
                trigger.token = ids[0];
            }
        }
        sampling.grammar_triggers.push_back(trigger);
    }
}

// Greedy choices need no candidate list of the whole vocabulary: 40 us a token less with 49,152 tokens.
bool is_argmax(const Sampling &sampling, const llama_vocab *vocab) {
    const auto has = [&](common_sampler_type type) {
        return std::find(sampling.samplers.begin(), sampling.samplers.end(), type) != sampling.samplers.end();
    };
    const bool is_greedy = sampling.temp <= 0 && sampling.dynatemp_range <= 0 && has(COMMON_SAMPLER_TYPE_TEMPERATURE);
    const bool is_penalised = sampling.penalty_repeat != 1 || sampling.penalty_freq != 0 || sampling.penalty_present != 0 ||
                              sampling.dry_multiplier != 0;
    const bool is_reordered = sampling.typ_p < 1 || sampling.xtc_probability > 0 || sampling.mirostat != 0 ||
                              has(COMMON_SAMPLER_TYPE_INFILL) || has(COMMON_SAMPLER_TYPE_ADAPTIVE_P);
    int32_t n_suppressed = 0;
    llama_vocab_get_suppress_tokens(vocab, &n_suppressed);
    return is_greedy && !is_penalised && !is_reordered && !has_budget(sampling) && sampling.logit_bias.empty() &&
           n_suppressed == 0 && common_grammar_value(sampling.grammar).empty();
}

// common_sampler_init leaks its chain when the grammar does not parse, so it only gets to see those that do.
void require_grammar(const llama_vocab *vocab, const std::string &grammar) {
    llama_sampler *sampler = llama_sampler_init_grammar(vocab, grammar.c_str(), "root");
    if (sampler == nullptr) {
        throw hsk::Failure(HSK_INVALID_GRAMMAR, hsk::logged_errors());
    }
    llama_sampler_free(sampler);
}

void read_grammar(const common_json &params, const llama_vocab *vocab, Sampling &sampling) {
    std::string grammar;
    std::string grammar_type = "user";
    read(params, "grammar", grammar);
    read(params, "grammar_type", grammar_type);
    if (grammar.empty()) {
        return;
    }
    common_grammar_type type = COMMON_GRAMMAR_TYPE_USER;
    if (grammar_type == "tool_calls") {
        type = COMMON_GRAMMAR_TYPE_TOOL_CALLS;
    } else if (grammar_type == "output_format") {
        type = COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT;
    } else if (grammar_type != "user") {
        throw hsk::Failure(HSK_INVALID_ARGUMENT, "grammar_type must be user, output_format or tool_calls");
    }
    hsk::require_sane_grammar(grammar);
    // A finished grammar allows nothing but an end token.
    hsk::require(!sampling.ignore_eos, "ignore_eos cannot be combined with a grammar");
    sampling.grammar = {type, grammar};
    read(params, "grammar_lazy", sampling.grammar_lazy);
    read_triggers(params, vocab, sampling);
    hsk::require(!sampling.grammar_lazy || !sampling.grammar_triggers.empty(), "a lazy grammar needs grammar_triggers");
}

common_sampler_ptr make_sampler(const llama_model *model, Sampling &sampling, uint64_t seed) {
    const bool has_grammar = !common_grammar_value(sampling.grammar).empty();
    common_sampler_ptr sampler;
    try {
        sampler.reset(common_sampler_init(model, sampling));
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception &exception) {
        const std::string logged = hsk::logged_errors();
        const std::string message = std::string(exception.what()) + (logged.empty() ? "" : ": " + logged);
        throw hsk::Failure(has_grammar ? HSK_INVALID_GRAMMAR : HSK_INVALID_ARGUMENT, message);
    }
    if (!sampler) {
        throw hsk::Failure(has_grammar ? HSK_INVALID_GRAMMAR : HSK_INTERNAL, hsk::logged_errors());
    }
    hsk::seed_by_position(common_sampler_get(sampler.get()), seed, sampling.xtc_probability, sampling.xtc_threshold,
                          static_cast<size_t>(std::max(0, sampling.min_keep)));
    return sampler;
}

}  // namespace

namespace hsk {
namespace {

void drop_grammar(hsk_sampler &sampler) {
    sampler.sampler = sampler.without_grammar();
    for (const auto &[token, is_generated] : sampler.told) {
        common_sampler_accept(sampler.sampler.get(), token, is_generated);
    }
    sampler.has_grammar = false;
    sampler.without_grammar = nullptr;
    sampler.told.clear();
}

}  // namespace

void accept(hsk_sampler &sampler, int32_t token, bool is_generated) {
    require(!sampler.is_broken, "the grammar failed before, this sampler is of no use any more");
    sampler.is_broken = true;
    try {
        common_sampler_accept(sampler.sampler.get(), token, is_generated);
    } catch (const std::runtime_error &) {
        if (!sampler.without_grammar) {
            throw;
        }
        // A model may write "<tool_call>" and mean no call, with something behind it in the same token.
        drop_grammar(sampler);
        common_sampler_accept(sampler.sampler.get(), token, is_generated);
    }
    if (sampler.without_grammar) {
        sampler.told.emplace_back(token, is_generated);
    }
    sampler.is_broken = false;
    if (is_generated && sampler.has_grammar) {
        sampler.utf8_state = sampler.utf8->after(sampler.utf8_state, token);
    }
    if (is_generated && sampler.n_before_end > 0) {
        sampler.n_before_end--;
    }
}

}  // namespace hsk

int32_t hsk_sampler_new(const hsk_model *model, const char *params, size_t n_bytes, hsk_sampler **out,
                        hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const common_json json = common_json::parse(std::string(params, n_bytes));
        Sampling sampling;
        sampling.no_perf = true;
        uint64_t seed = 0;
        read(json, "seed", seed);
        sampling.seed = static_cast<uint32_t>(seed % LLAMA_DEFAULT_SEED);
        read_numbers(json, sampling);
        read_order(json, sampling);
        read_bias(json, model->vocab, sampling);
        read_reasoning(json, model->vocab, sampling);
        read_grammar(json, model->vocab, sampling);
        int32_t min_tokens = 0;
        read(json, "min_tokens", min_tokens);

        const bool has_grammar = !common_grammar_value(sampling.grammar).empty();
        if (has_grammar) {
            hsk::require(min_tokens == 0, "min_tokens cannot be combined with a grammar");
            // A grammar copies all open levels with each token: deep ones would take minutes.
            hsk::require(hsk::is_shallow(sampling.generation_prompt, false), "the beginning of the answer is nested too deeply");
            require_grammar(model->vocab, common_grammar_value(sampling.grammar));
        }
        common_sampler_ptr sampler = make_sampler(model->model.get(), sampling, seed);
        std::function<common_sampler_ptr()> without_grammar;
        if (has_grammar && sampling.grammar_lazy) {
            Sampling plain = sampling;
            plain.grammar = {};
            without_grammar = [shared = model->model, plain, seed]() mutable { return make_sampler(shared.get(), plain, seed); };
        }
        *out = new hsk_sampler{model->model,
                               std::move(sampler),
                               has_grammar,
                               is_argmax(sampling, model->vocab),
                               false,
                               min_tokens,
                               min_tokens > 0 ? end_tokens(model->vocab) : std::vector<int32_t>(),
                               model->utf8,
                               hsk::Utf8State::start,
                               std::move(without_grammar),
                               {}};
    });
}

void hsk_sampler_free(hsk_sampler *sampler) noexcept {
    delete sampler;
}

int32_t hsk_sampler_accept(hsk_sampler *sampler, const int32_t *tokens, size_t n_tokens, int32_t is_generated,
                           hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const llama_vocab *vocab = llama_model_get_vocab(sampler->model.get());
        for (size_t i = 0; i < n_tokens; i++) {
            hsk::require_token(vocab, tokens[i]);
        }
        for (size_t i = 0; i < n_tokens; i++) {
            hsk::require(is_generated == 0 || !sampler->has_grammar || !llama_vocab_is_eog(vocab, tokens[i]),
                         "an end token cannot be appended where a grammar decides about the end");
            hsk::accept(*sampler, tokens[i], is_generated != 0);
        }
    });
}

int32_t hsk_schema_to_grammar(const char *schema, size_t n_bytes, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::give(out, hsk::failing_with(HSK_INVALID_GRAMMAR, [&] {
                      hsk::require_json_depth({schema, n_bytes});
                      return json_schema_to_grammar(common_json::parse(std::string(schema, n_bytes)));
                  }));
    });
}
