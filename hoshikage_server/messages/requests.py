"""What is wrong with an HTTP request."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

REQUESTS: dict[str, Message] = {
    "invalid_json": Message(
        "リクエスト本文をJSONとして読めませんでした。{reason}",
        "We could not parse the JSON body of your request: {reason}",
    ),
    "malformed_request": Message(
        "HTTPリクエストの形式が正しくありません。",
        "The HTTP request is malformed.",
    ),
    "request_line_too_long": Message(
        "URLが長すぎます。",
        "The request's URL is too long.",
    ),
    "request_headers_too_large": Message(
        "HTTPヘッダーが大きすぎるか、多すぎます。",
        "The request's headers are too large or too many.",
    ),
    "unsupported_expectation": Message(
        "Expect ヘッダーには '100-continue' だけが使えます。",
        "The only supported value of the Expect header is '100-continue'.",
    ),
    "unsupported_transfer_coding": Message(
        "Transfer-Encoding には 'chunked' だけが使えます。",
        "The only supported Transfer-Encoding is 'chunked'.",
    ),
    "duplicate_parameter": Message(
        "'{param}' が2回以上指定されています。",
        "Duplicate parameter: '{param}' is given more than once.",
    ),
    "missing_required_parameter": Message(
        "必須パラメータ '{param}' がありません。",
        "Missing required parameter: '{param}'.",
    ),
    "invalid_type": Message(
        "'{param}' の型が違います。{expected}が必要ですが、{got}でした。",
        "Invalid type for '{param}': expected {expected}, but got {got} instead.",
    ),
    "or": Message("または", " or "),
    "at_least": Message("少なくとも", "at least "),
    "type_array": Message("配列", "an array"),
    "type_boolean": Message("真偽値", "a boolean"),
    "type_decimal": Message("数値", "a decimal"),
    "type_decimal_number": Message("小数", "a decimal number"),
    "type_integer": Message("整数", "an integer"),
    "type_object": Message("オブジェクト", "an object"),
    "type_string": Message("文字列", "a string"),
    "type_other": Message("別の型", "something else"),
    "invalid_key": Message(
        "'{param}' のキー {got} は使えません。キーはトークンID（0 以上の整数）でなければなりません。",
        "Invalid key in '{param}': {got}. You should only be submitting token ids, which are non-negative integers.",
    ),
    "key_above_max_length": Message(
        "'{param}' のキーが長すぎます。{limit} 文字までです（{got} 文字でした）。",
        "Invalid property name in '{param}': a name is too long. Expected a string with maximum length {limit}, "
        "but got a string with length {got} instead.",
    ),
    "nested_too_deeply": Message(
        "'{param}' の入れ子が深すぎます。{limit} 段までです。",
        "Invalid '{param}': nested too deeply. Expected at most {limit} levels.",
    ),
    "too_many_levels": Message("入れ子が深すぎます。", "it is nested too deeply."),
    "half_a_surrogate_pair": Message(
        "サロゲートペアの片方だけがエスケープされています。",
        "it escapes only one half of a surrogate pair.",
    ),
    "number_out_of_range": Message(
        "'{param}' の数値が範囲を超えています。",
        "Invalid '{param}': the number is out of range.",
    ),
    "invalid_value": Message(
        "'{param}' の値 {got} は使えません。使える値: {supported}。",
        "Invalid value for '{param}': {got}. Supported values are: {supported}.",
    ),
    "decimal_above_max_value": Message(
        "'{param}' が大きすぎます。{limit} 以下にしてください（{got} でした）。",
        "Invalid '{param}': decimal above maximum value. Expected a value <= {limit}, but got {got} instead.",
    ),
    "decimal_below_min_value": Message(
        "'{param}' が小さすぎます。{limit} 以上にしてください（{got} でした）。",
        "Invalid '{param}': decimal below minimum value. Expected a value >= {limit}, but got {got} instead.",
    ),
    "integer_above_max_value": Message(
        "'{param}' が大きすぎます。{limit} 以下にしてください（{got} でした）。",
        "Invalid '{param}': integer above maximum value. Expected a value <= {limit}, but got {got} instead.",
    ),
    "integer_below_min_value": Message(
        "'{param}' が小さすぎます。{limit} 以上にしてください（{got} でした）。",
        "Invalid '{param}': integer below minimum value. Expected a value >= {limit}, but got {got} instead.",
    ),
    "array_above_max_length": Message(
        "'{param}' の配列が長すぎます。{limit} 個までです（{got} 個でした）。",
        "Invalid '{param}': array too long. Expected an array with maximum length {limit}, "
        "but got an array with length {got} instead.",
    ),
    "string_above_max_length": Message(
        "'{param}' が長すぎます。{limit} 文字までです（{got} 文字でした）。",
        "Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
        "but got a string with length {got} instead.",
    ),
    "object_above_max_properties": Message(
        "'{param}' の項目が多すぎます。{limit} 個までです（{got} 個でした）。",
        "Invalid '{param}': too many properties. Expected an object with at most {limit} properties, "
        "but got an object with {got} properties instead.",
    ),
    "string_does_not_match": Message(
        "'{param}' の値 {got} は使えません。正規表現 '{pattern}' に合う文字列にしてください。",
        "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '{pattern}', "
        "but got {got} instead.",
    ),
    "empty_array": Message(
        "'{param}' の配列が空です。1 個以上必要です。",
        "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    "empty_string": Message(
        "'{param}' が空です。1 文字以上必要です。",
        "Invalid '{param}': empty string. Expected a string with minimum length 1, but got an empty string instead.",
    ),
    "unsupported_parameter": Message(
        "'{param}' には対応していません。",
        "Unsupported parameter: '{param}' is not supported by this server.",
    ),
    "template_variable_taken": Message(
        "'{param}' は指定できません。テンプレートの変数 '{name}' は、サーバーがリクエストとモデルから作ります。",
        "Unsupported parameter: '{param}'. The template's variable '{name}' is made from the request and the model.",
    ),
    "unsupported_value": Message(
        "'{param}' の値 {got} には対応していません。使える値: {supported}。",
        "Unsupported value: '{param}' does not support {got} on this server. Supported values are: {supported}.",
    ),
    "hosted_tool": Message(
        "'{param}': {got} はOpenAIのサーバーや決まったモデルのためのツールで、このサーバーにはありません。"
        "'tools' から外すか（エージェントなら設定で切るか）、'function' や 'custom' のツールを使ってください。",
        "Unsupported value: '{param}' does not support {got} on this server: only OpenAI's servers, or models that "
        "were taught it, have this tool. Leave it out (agents have a setting that switches it off), or use tools of "
        "type 'function', 'custom' or 'namespace'.",
    ),
    "parameters_conflict": Message(
        "'{param}' と '{other}' は同時に指定できません。",
        "Setting '{param}' and '{other}' at the same time is not supported.",
    ),
    "mixed_prompts": Message(
        "'{param}' の種類が他と違います。文字列の配列、トークンIDの配列、その配列のいずれかにしてください。",
        "Invalid '{param}': it differs from the others. 'prompt' must be a list of strings, of token ids, or of lists "
        "of token ids.",
    ),
    "only_with_tools": Message(
        "'{param}' は 'tools' があるときだけ使えます。",
        "Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified.",
    ),
    "only_with_functions": Message(
        "'{param}' は 'functions' があるときだけ使えます。",
        "Invalid value for '{param}': '{param}' is only allowed when 'functions' are specified.",
    ),
    "unknown_function_call": Message(
        "'{param}' の関数 '{name}' が 'functions' にありません。",
        "Invalid value for '{param}': the function '{name}' was not found in 'functions'.",
    ),
    "unknown_tool_choice": Message(
        "'{param}' の関数 '{name}' が 'tools' にありません。",
        "Invalid value for '{param}': the function '{name}' was not found in 'tools'.",
    ),
    "top_logprobs_without_logprobs": Message(
        "'top_logprobs' は 'logprobs' が true のときだけ使えます。",
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
    ),
    "result_without_call": Message(
        "'{param}': 役割が '{role}' のメッセージは呼び出しの結果でなければなりませんが、"
        "{call} という呼び出しは直前のアシスタントのメッセージの '{calls}' にありません。",
        "Invalid '{param}': messages with role '{role}' must be a response to a preceding message with '{calls}', "
        "and there is no unanswered call {call}.",
    ),
    "call_without_result": Message(
        "'{param}': 呼び出し {call} の結果を伝える 'tool' のメッセージが続いていません。",
        "Invalid '{param}': an assistant message with 'tool_calls' must be followed by tool messages responding to "
        "each 'tool_call_id'. The following tool_call_ids did not have response messages: {call}.",
    ),
    "output_without_call": Message(
        "'{param}': 呼び出し '{call}' が、それより前の入力にありません。",
        "No tool call found for function call output with call_id {call} ('{param}').",
    ),
    "call_without_output": Message(
        "'{param}': 呼び出し '{call}' の結果が入力にありません。",
        "No tool output found for function call {call} ('{param}').",
    ),
    "invalid_encrypted_content": Message(
        "'{param}' はこのサーバーが作ったものではないため、読めません。",
        "Invalid '{param}': the encrypted content could not be verified. It was not made by this server.",
    ),
    "previous_response_not_found": Message(
        "前の応答 '{response}' は見つかりません。保存されていないか、古くなって消えています。",
        "Previous response with id '{response}' not found. It was not stored, or it has been forgotten.",
    ),
    "response_not_found": Message(
        "応答 '{response}' は見つかりません。保存されていないか、古くなって消えています。",
        "Response with id '{response}' not found. It was not stored, or it has been forgotten.",
    ),
    "response_not_in_background": Message(
        "応答 '{response}' はバックグラウンドで作られたものではないため、この操作はできません。"
        "生成中の応答は、接続を閉じると中止されます。",
        "The response '{response}' was not created in the background, so it can be neither cancelled nor streamed "
        "again. Closing its connection cancels a response under way.",
    ),
    "item_not_found": Message(
        "項目 '{item}' は見つかりません。'store' が false の応答の項目は保存されません。",
        "Item with id '{item}' not found. Items are not persisted when 'store' is false.",
    ),
    "arguments_not_json": Message(
        "'{param}' はJSONオブジェクトの文字列でなければなりません。",
        "Invalid '{param}': the arguments of a call must be a JSON object, written as a string.",
    ),
    "invalid_json_schema": Message(
        "'{param}' のスキーマは使えません。{path} の {keyword}: {reason}。",
        "Invalid schema for '{param}': {keyword} at {path} {reason}.",
    ),
    "invalid_function_parameters": Message(
        "'{param}' のスキーマは使えません。{path} の {keyword}: {reason}。",
        "Invalid schema for '{param}': {keyword} at {path} {reason}.",
    ),
    "invalid_tool_grammar": Message(
        "'{param}' の文法は使えません: {reason}。",
        "Invalid grammar for '{param}': {reason}.",
    ),
    "lark_unreadable": Message(
        "{line} 行目がLarkの文法として読めません", "line {line} cannot be read as a grammar of Lark's"
    ),
    "lark_no_start": Message("規則 'start' がありません", "there is no rule 'start'"),
    "lark_undefined": Message("'{name}' が定義されていません", "'{name}' is not defined"),
    "lark_twice": Message("'{name}' が2回定義されています", "'{name}' is defined twice"),
    "lark_recursive": Message(
        "規則 '{name}' が自分自身を含んでいます。再帰のない規則にしてください（繰り返しには * や + が使えます）",
        "the rule '{name}' mentions itself, which cannot be enforced; write repetitions with * or +",
    ),
    "lark_flags": Message(
        "正規表現 {name} のフラグには対応していません。フラグなしの書き方にしてください",
        "the regular expression {name} has flags, which cannot be enforced; write it without them",
    ),
    "lark_directive": Message("{name} には対応していません", "{name} cannot be enforced"),
    "lark_import": Message("{name} は取り込めません", "{name} cannot be imported"),
    "lark_too_large": Message("大きすぎます。規則を減らしてください", "it is too large; use fewer rules"),
    "whole_schema": Message("全体", "the schema"),
    "schema_no_object": Message("'object' でなければなりません", "must be 'object'"),
    "max_tokens_twice": Message(
        "'max_tokens' と 'max_completion_tokens' は同時に指定できません。",
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
    ),
    "stream_options_without_stream": Message(
        "'{param}' は 'stream' が true のときだけ使えます。",
        "The '{param}' parameter is only allowed when 'stream' is enabled.",
    ),
    "which_field": Message(" '{field}' ", "'{field}' "),
    "invalid_argument": Message(
        "リクエストの値{which}が使えません: {reason}",
        "A value of the request cannot be used: {which}{reason}.",
    ),
    "invalid_grammar": Message(
        "文法を読めませんでした。GBNF の書き方を確かめてください（{reason}）。",
        "The grammar could not be compiled: check that it is GBNF ({reason}).",
    ),
    "holds_nul": Message(
        "'{param}' にはNUL文字 (U+0000) を含められません。取り除いてください。",
        "Invalid '{param}': it must not hold the character NUL (U+0000). Please remove it.",
    ),
    "grammar_dead_end": Message(
        "文法またはスキーマが求める文字を、このモデルの語彙では書けません（または 'logit_bias' がすべて禁じています）。"
        "文法を見直すか、別のモデルを使ってください。",
        "The grammar leaves no token to choose: this model's vocabulary cannot spell what the grammar or schema asks "
        "for (or 'logit_bias' forbids it). Change the grammar, or use another model.",
    ),
    "chat_template_failed": Message(
        "このモデルのチャットテンプレートは、このメッセージの並びを受け付けません。"
        "役割と順序を見直してください（テンプレート: {reason}）。",
        "The model's chat template refused these messages: check their roles and their order (the template: {reason}).",
    ),
    "context_length_exceeded": Message(
        "このモデルの最大コンテキスト長は {n_ctx} トークンですが、"
        "メッセージは{is_at_least} {n_prompt} トークンになりました。回答にも1トークン以上が必要です。"
        "メッセージを短くしてください。",
        "This model's maximum context length is {n_ctx} tokens. However, your messages resulted in "
        "{is_at_least}{n_prompt} tokens, and the answer needs at least one. "
        "Please reduce the length of the messages.",
    ),
    "prompt_too_long": Message(
        "このモデルの最大コンテキスト長は {n_ctx} トークンですが、"
        "プロンプトは{is_at_least} {n_prompt} トークンになりました。回答にも1トークン以上が必要です。"
        "プロンプトを短くしてください。",
        "This model's maximum context length is {n_ctx} tokens. However, your prompt resulted in "
        "{is_at_least}{n_prompt} tokens, and the answer needs at least one. "
        "Please reduce the length of the prompt.",
    ),
    "input_too_long": Message(
        "このモデルが一度に読めるのは {n_ctx} トークンまでですが、"
        "'{param}' は{is_at_least} {n_prompt} トークンになりました。短くするか、分割してください。",
        "This model's maximum context length is {n_ctx} tokens. However, '{param}' resulted in "
        "{is_at_least}{n_prompt} tokens. Please shorten it, or divide it.",
    ),
    "token_not_in_vocabulary": Message(
        "'{param}' のトークン {token} はこのモデルの語彙にありません（語彙数 {n_vocab}）。",
        "Invalid '{param}': token {token} is not in this model's vocabulary of {n_vocab} tokens.",
    ),
    "model_cannot_generate": Message(
        "このモデルは埋め込み専用で、文章を生成できません。POST /v1/embeddings で使ってください。",
        "This model only makes embeddings and cannot generate text. Use it with POST /v1/embeddings.",
    ),
    "model_cannot_embed": Message(
        "このモデルは文章の関連度を採点するもの（リランカー）で、埋め込みを作れません。",
        "This model rates how well texts fit together (it is a reranker) and makes no embeddings.",
    ),
    "model_not_found": Message(
        "モデル '{model}' は登録されていません。使えるモデルは GET /v1/models で分かります。",
        "The model '{model}' does not exist. GET /v1/models lists those that do.",
    ),
    "unknown_url": Message(
        "URLが見つかりません: {method} {path}。APIのベースURLは {base} です。",
        "Unknown request URL: {method} {path}. Please check the URL for typos; the API's base URL is {base}.",
    ),
    "method_not_supported": Message(
        "{path} に {method} は使えません（使えるメソッド: {allowed}）。",
        "Not allowed to {method} on {path} (allowed methods: {allowed}).",
    ),
    "method_unknown": Message(
        "{method} というメソッドはありません。GETやPOSTなどを使ってください。",
        "Unknown method: {method}. Use GET, POST or the like.",
    ),
    "request_too_large": Message(
        "リクエスト本文が大きすぎます（上限 {limit} バイト）。",
        "The request body is too large (the limit is {limit} bytes).",
    ),
    "too_many_values": Message(
        "リクエスト本文に含まれる値が多すぎます（カンマ {limit} 個まで）。分けて送ってください。",
        "The request body holds too many values (the limit is {limit} commas). Please divide it.",
    ),
    "request_timeout": Message(
        "リクエスト本文が {seconds} 秒以内に届きませんでした。",
        "The request body did not arrive within {seconds} seconds.",
    ),
    "unsupported_content_encoding": Message(
        "Content-Encoding '{encoding}' には対応していません。gzip にするか、圧縮せずに送ってください。",
        "Content-Encoding '{encoding}' is not supported: send the body as gzip or uncompressed.",
    ),
    "invalid_gzip": Message(
        "Content-Encoding は gzip ですが、リクエスト本文を gzip として読めませんでした。",
        "The Content-Encoding is gzip, but the request body is no gzip data.",
    ),
    "unsupported_content_type": Message(
        "Content-Type '{content_type}' には対応していません。'application/json' で送ってください。",
        "Unsupported content type: '{content_type}'. Please send the body as 'application/json'.",
    ),
    "unsupported_charset": Message(
        "文字コード '{charset}' には対応していません。UTF-8 で送ってください。",
        "Unsupported charset: '{charset}'. JSON is UTF-8.",
    ),
    "origin_not_allowed": Message(
        "Webページ（オリジン {origin}）からのリクエストは許可されていません。"
        "許可するには HOSHIKAGE_CORS_ORIGINS にこのオリジンを加えてください。",
        "Web pages of the origin {origin} may not use this server. "
        "To allow them, add the origin to HOSHIKAGE_CORS_ORIGINS.",
    ),
    "host_not_allowed": Message(
        "APIキーのない間は、'{host}' という名前（Host ヘッダー）では使えません。"
        "HOSHIKAGE_API_KEYS を設定するか、HOSHIKAGE_CORS_ORIGINS に https://{host} を加えてください。",
        "Without API keys this server does not answer to the name '{host}' (the Host header). "
        "Set HOSHIKAGE_API_KEYS, or add https://{host} to HOSHIKAGE_CORS_ORIGINS.",
    ),
    "http_error": Message(
        "リクエストを受け付けられませんでした: {reason}",
        "The request was refused: {reason}",
    ),
    "missing_api_key": Message(
        "APIキーがありません。Authorization ヘッダーに 'Bearer <キー>' を付けてください。",
        "You didn't provide an API key. Provide it in an Authorization header using Bearer auth "
        "(Authorization: Bearer YOUR_KEY).",
    ),
    "invalid_api_key": Message(
        "APIキーが正しくありません。サーバーの HOSHIKAGE_API_KEYS にあるキーを使ってください。",
        "Incorrect API key provided. Use one of those in the server's HOSHIKAGE_API_KEYS.",
    ),
}
