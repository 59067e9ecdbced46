// Takes generated text apart with the parser that hsk_chat_render gave, and makes grammars from such parsers.
#include "chat-peg-parser.h"  // llama.cpp's common

#include "guard.hpp"
#include "limits.hpp"

#include "json-schema-to-grammar.h"
#include "json.h"

#include <memory>
#include <variant>

struct hsk_parser {
    common_peg_arena arena;
    common_chat_format format;
    std::string generation_prompt;
    bool has_single_quotes;
};

namespace {

std::unique_ptr<common_chat_peg_mapper> new_mapper(common_chat_format format, common_chat_msg &message) {
    switch (format) {
        case COMMON_CHAT_FORMAT_PEG_GEMMA4: return std::make_unique<common_chat_peg_gemma4_mapper>(message);
        case COMMON_CHAT_FORMAT_PEG_MINIMAX_M3: return std::make_unique<common_chat_peg_minimax_m3_mapper>(message);
        default: return std::make_unique<common_chat_peg_mapper>(message);
    }
}

// The serialised arena has lost its schemas: a schema parser that is named gets one again.
void give_schemas(common_peg_arena &arena, const common_json &schemas) {
    for (common_peg_parser_id id = 0; id < arena.size(); id++) {
        auto *schema = std::get_if<common_peg_schema_parser>(&arena.get(id));
        if (schema == nullptr || !schemas.contains(schema->name)) {
            continue;
        }
        auto document = std::make_shared<common_chat_schema_document>(common_chat_schema_from_json(schemas.at(schema->name)));
        schema->node = document->root.get();
        schema->doc = std::move(document);
    }
}

// What an answer consists of where the template has no format of its own for it: Hermes's, which most models have seen.
common_peg_arena plain_format(const common_json &request) {
    const common_json tools = request.value("tools", common_json::array());
    const bool is_parallel = request.value("parallel_tool_calls", false);
    const bool is_required = request.value("is_required", false);
    return build_chat_peg_parser([&](common_chat_peg_builder &p) {
        auto content = p.eps();
        if (request.contains("json_schema")) {
            content = p.space() + p.content(p.schema(p.json(), "response-format-schema", request.at("json_schema"))) + p.space();
        }
        if (tools.empty()) {
            return content;
        }
        const auto call = p.standard_json_tools("<tool_call>", "</tool_call>", tools, false, true);
        auto calls = call;
        if (is_parallel) {
            calls = calls + p.zero_or_more(p.space() + call);
        }
        calls = p.trigger_rule("tool-calls", calls) + p.space();
        if (is_required) {
            return p.space() + calls;
        }
        if (request.contains("json_schema")) {
            return p.choice({p.space() + calls, content});
        }
        return p.optional(p.content(p.until("<tool_call>"))) + p.optional(calls);
    });
}

}  // namespace

int32_t hsk_parser_new(const char *parser, size_t n_bytes, hsk_parser **out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const common_json json = common_json::parse(std::string(parser, n_bytes));
        auto handle = std::make_unique<hsk_parser>();
        const int format = json.at("format").get<int>();
        hsk::require(format >= 0 && format < COMMON_CHAT_FORMAT_COUNT, "parser.format is out of range");
        handle->format = static_cast<common_chat_format>(format);
        handle->generation_prompt = json.at("generation_prompt").get<std::string>();
        handle->arena = common_peg_arena::from_json(json.at("arena"));
        handle->has_single_quotes = json.at("arena").dump().find("single-quoted") != std::string::npos;
        *out = handle.release();
    });
}

void hsk_parser_free(hsk_parser *parser) noexcept {
    delete parser;
}

// Not common_chat_parse: that writes a text which does not match into the log.
int32_t hsk_parser_parse(const hsk_parser *parser, const char *text, size_t n_bytes, int32_t is_partial, hsk_text *out,
                         hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const std::string input = parser->generation_prompt + std::string(text, n_bytes);
        if (!hsk::is_shallow(input, parser->has_single_quotes)) {
            hsk::give(out, "null");
            return;
        }
        common_peg_parse_context context(input, is_partial != 0 ? COMMON_PEG_PARSE_FLAG_LENIENT : COMMON_PEG_PARSE_FLAG_NONE);
        const common_peg_parse_result result = parser->arena.parse(context);
        if (result.fail()) {
            hsk::give(out, "null");
            return;
        }
        common_chat_msg message;
        message.role = "assistant";
        new_mapper(parser->format, message)->from_ast(context.ast, result);
        common_json json = message.to_json_oaicompat();
        // Some formats end where nothing of theirs goes on, whatever follows.
        json["rest"] = result.success() ? input.substr(result.end) : "";
        hsk::give(out, json.dump_safe());
    });
}

int32_t hsk_parser_arena(const char *request, size_t n_bytes, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::give(out, hsk::failing_with(HSK_INVALID_GRAMMAR, [&] {
                      hsk::require_json_depth({request, n_bytes});
                      return plain_format(common_json::parse(std::string(request, n_bytes))).save();
                  }));
    });
}

int32_t hsk_parser_grammar(const char *request, size_t n_bytes, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        hsk::give(out, hsk::failing_with(HSK_INVALID_GRAMMAR, [&] {
                      hsk::require_json_depth({request, n_bytes});
                      const common_json json = common_json::parse(std::string(request, n_bytes));
                      common_peg_arena arena = common_peg_arena::from_json(json.at("arena"));
                      give_schemas(arena, json.at("schemas"));
                      return build_grammar([&](const common_grammar_builder &builder) {
                          arena.build_grammar(builder, json.value("is_lazy", false));
                      });
                  }));
    });
}
