#include "chat.h"  // llama.cpp's common

#include "guard.hpp"
#include "handles.hpp"

#include "json.h"

#include <utility>

struct hsk_chat {
    shared_model model;
    common_chat_templates_ptr templates;
};

namespace {

common_chat_templates_ptr load_templates(const hsk_model &model, const std::string &text) {
    try {
        return common_chat_templates_init(model.model.get(), text);
    } catch (const std::exception &) {
        // It throws a copy of the bare std::exception: the parser itself says what is wrong.
        const char *own = llama_model_chat_template(model.model.get(), nullptr);
        const common_chat_template again(text.empty() && own != nullptr ? own : text, "", "");
        throw;
    }
}

common_chat_templates_inputs read_inputs(const common_json &request) {
    common_chat_templates_inputs inputs;
    inputs.messages = common_chat_msgs_parse_oaicompat(request.at("messages"));
    if (request.contains("tools")) {
        inputs.tools = common_chat_tools_parse_oaicompat(request.at("tools"));
    }
    inputs.tool_choice = common_chat_tool_choice_parse_oaicompat(request.value("tool_choice", "auto"));
    inputs.parallel_tool_calls = request.value("parallel_tool_calls", false);
    if (request.contains("json_schema")) {
        inputs.json_schema = request.at("json_schema").dump();
    }
    inputs.add_generation_prompt = request.value("add_generation_prompt", true);
    if (request.contains("continue_final_message")) {
        inputs.continue_final_message = common_chat_continuation_parse(request.at("continue_final_message"));
    }
    inputs.enable_thinking = request.value("enable_thinking", true);
    inputs.reasoning_format = common_reasoning_format_from_name(request.value("reasoning_format", "auto"));
    if (request.contains("chat_template_kwargs")) {
        for (const auto &item : request.at("chat_template_kwargs").items()) {
            inputs.chat_template_kwargs[item.key()] = item.value().dump();
        }
    }
    return inputs;
}

common_json describe_template(const common_chat_templates *templates) {
    common_json caps = common_json::object();
    for (const auto &[name, has] : common_chat_templates_get_caps(templates)) {
        caps[name] = has;
    }
    return common_json{
        {"source", common_chat_templates_source(templates)},
        {"is_explicit", common_chat_templates_was_explicit(templates)},
        {"supports_thinking", common_chat_templates_support_enable_thinking(templates)},
        {"caps", caps},
    };
}

common_json describe_triggers(const std::vector<common_grammar_trigger> &triggers) {
    common_json list = common_json::array();
    for (const auto &trigger : triggers) {
        list.push_back(common_json{{"type", static_cast<int>(trigger.type)}, {"value", trigger.value}});
    }
    return list;
}

common_json describe_prompt(const common_chat_params &params) {
    const common_json parser{
        {"format", static_cast<int>(params.format)},
        {"generation_prompt", params.generation_prompt},
        {"arena", common_json::parse(params.parser)},
    };
    return common_json{
        {"prompt", params.prompt},
        {"grammar", params.grammar},
        {"grammar_lazy", params.grammar_lazy},
        {"grammar_triggers", describe_triggers(params.grammar_triggers)},
        {"preserved_tokens", params.preserved_tokens},
        {"stops", params.additional_stops},
        {"generation_prompt", params.generation_prompt},
        {"supports_thinking", params.supports_thinking},
        {"thinking_start_tag", params.thinking_start_tag},
        {"thinking_end_tags", params.thinking_end_tags},
        {"parser", parser},
    };
}

}  // namespace

int32_t hsk_chat_new(const hsk_model *model, const char *template_text, hsk_chat **out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const std::string text = template_text != nullptr ? template_text : "";
        auto templates = hsk::failing_with(HSK_TEMPLATE_FAILED, [&] { return load_templates(*model, text); });
        *out = new hsk_chat{model->model, std::move(templates)};
    });
}

void hsk_chat_free(hsk_chat *chat) noexcept {
    delete chat;
}

int32_t hsk_chat_info_get(const hsk_chat *chat, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const common_json info = hsk::failing_with(HSK_TEMPLATE_FAILED, [&] { return describe_template(chat->templates.get()); });
        hsk::give(out, info.dump_safe());
    });
}

int32_t hsk_chat_render(const hsk_chat *chat, const char *request, size_t n_bytes, hsk_text *out, hsk_error *error) noexcept {
    return hsk::guarded(error, [&] {
        const common_json prompt = hsk::failing_with(HSK_TEMPLATE_FAILED, [&] {
            const common_chat_templates_inputs inputs = read_inputs(common_json::parse(std::string(request, n_bytes)));
            return describe_prompt(common_chat_templates_apply(chat->templates.get(), inputs));
        });
        hsk::give(out, prompt.dump_safe());
    });
}
