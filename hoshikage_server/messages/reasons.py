"""Why something cannot be, as hoshikage_core tells it: `reason_` and the name of one of its reasons.

They follow the name of a value, or of a keyword and its place in a schema.
"""

from __future__ import annotations

from hoshikage_server.messages.message import Message

REASONS: dict[str, Message] = {
    # Values
    "reason_native": Message("推論エンジンが受け付けませんでした（{words}）", "the engine refused it ({words})"),
    "reason_unknown_token": Message(
        "トークン {token} はこのモデルの語彙にありません（0 から {last} まで）",
        "token {token} is not in the vocabulary (0 to {last})",
    ),
    "reason_unknown_kv_type": Message("llama.cpp にない型です", "is none of llama.cpp's types"),
    "reason_kv_type_of_cpus": Message(
        "GPUでは計算できない型です。q4_0 にするか、gpu_layers を 0 にしてください",
        "cannot be computed with by a GPU: q4_0 can, or set gpu_layers to 0",
    ),
    "reason_split_of_one": Message("split_mode が none のときは使えません", "has no effect where split_mode is none"),
    "reason_main_of_all": Message(
        "使えるのは split_mode が none のときだけです", "has no effect unless split_mode is none"
    ),
    "reason_more_shares_than_gpus": Message(
        "数値が {n_shares} 個ありますが、GPUは {n_gpus} 個です", "has {n_shares} numbers for {n_gpus} GPUs"
    ),
    "reason_no_such_gpu": Message(
        "GPU {main_gpu} はありません（0 から {last} まで）", "there is no GPU {main_gpu}, the last one is {last}"
    ),
    "reason_too_many_shares": Message(
        "数値が {n_shares} 個ありますが、分けられるGPUは {n_max} 個までです",
        "has {n_shares} numbers, but a model can be spread over {n_max} devices",
    ),
    "reason_bad_share": Message(
        "0 以上の数値にしてください（{got} がありました）", "must hold numbers from 0, not {got}"
    ),
    "reason_no_share": Message("0 より大きい数値が1つは必要です", "must hold a number above 0"),
    "reason_number_out_of_bounds": Message(
        "{low} から {high} の範囲にしてください（{got} でした）", "must be from {low} to {high}, not {got}"
    ),
    "reason_out_of_bounds": Message(
        "{low} から {high} の範囲にしてください（{got} でした）", "must be from {low} to {high}, not {got}"
    ),
    "reason_two_grammars": Message("'grammar' とは同時に使えません", "cannot be combined with 'grammar'"),
    "reason_beside_grammar": Message(
        "文法やスキーマで形を決めた応答には使えません", "cannot be combined with a grammar or a schema"
    ),
    "reason_prompt_has_grammar": Message(
        "文法を持つプロンプトとは同時に使えません", "cannot be combined with a prompt that has a grammar"
    ),
    "reason_grammar_beside_tools": Message(
        "'tools' や 'json_schema' とは同時に使えません", "cannot be combined with tools or json_schema"
    ),
    "reason_no_bias": Message(
        "トークンIDと数値（または -inf）の組にしてください", "must map token ids to numbers (or -inf)"
    ),
    "reason_one_text": Message(
        "1 つの文字列ではなく、文字列の配列にしてください", "must be a list of texts, not one text"
    ),
    "reason_no_finite_number": Message("有限の数値にしてください", "must be a finite number"),
    "reason_empty_stop": Message("空の文字列は使えません", "must not hold an empty text"),
    "reason_no_integer": Message("整数にしてください（{got} でした）", "must be an integer, not {got}"),
    "reason_no_text": Message("文字列にしてください（{got} でした）", "must be text, not {got}"),
    "reason_no_texts": Message("文字列の配列にしてください（{got} でした）", "must be a list of texts, not {got}"),
    "reason_no_tokens": Message(
        "トークンIDの配列にしてください（{got} でした）", "must be a list of token ids, not {got}"
    ),
    "reason_no_list": Message("配列にしてください", "must be a list"),
    "reason_no_list_of": Message("{field} の配列にしてください", "must be a list of {field}"),
    "reason_wrong_kind": Message("値の種類が違います（{got} でした）", "is of the wrong kind: {got}"),
    "reason_none_of": Message("次のどれかにしてください: {names}", "must be one of {names}"),
    "reason_no_unicode": Message("正しい Unicode の文字列ではありません", "is not valid Unicode"),
    "reason_has_nul": Message("NUL文字 (U+0000) は使えません", "must not hold a NUL character"),
    "reason_not_as_json": Message("JSON として書けない値があります", "cannot be written as JSON"),
    "reason_too_deep": Message("入れ子が深すぎます", "is nested too deeply"),
    "reason_no_token": Message("1 トークン以上が必要です", "must hold at least one token"),
    "reason_nothing_pending": Message(
        "続きを計算するトークンがありません", "has nothing pending: append a token, or sample one"
    ),
    "reason_shape_twice": Message("応答の形が二重に指定されています", "cannot be combined with a rendered chat"),
    "reason_no_prompt": Message("保存されたプロンプトとして読めません", "is no stored prompt"),
    "reason_draft_unsuited": Message(
        "語彙がモデルと異なるか、推測に使えない種類のモデルです",
        "it has another vocabulary, or is of a kind that cannot be asked for guesses",
    ),
    "reason_no_pairs": Message("パスと数値の組の配列にしてください", "must be a list of pairs: a path and a number"),
    "reason_lora_scale": Message(
        "倍率は {low} から {high} の範囲にしてください", "must have numbers from {low} to {high}"
    ),
    "reason_template_variable": Message(
        "'{name}' は指定できません。ほかの項目から決まります", "must not hold '{name}', which follows from other fields"
    ),
    "reason_no_function": Message("種類は 'function' にしてください", "must have the type 'function'"),
    "reason_tool_name_taken": Message("ほかのツールと同じ名前です", "must be a name that no other tool has"),
    "reason_unknown_tool": Message("'tools' にある名前にしてください", "must be the name of one of the tools"),
    "reason_nothing_to_continue": Message(
        "続きを書かせるには、アシスタントの文章で終わらせてください",
        "must end with a text of the assistant's to continue it",
    ),
    "reason_no_such_beginning": Message(
        "最後にあるアシスタントの文章は、求められた形式の書き出しになっていません。直すか、取り除いてください",
        "end with what no answer of the form that is asked for begins with; change that message or leave it out",
    ),
    "reason_nothing_rendered": Message(
        "チャットテンプレートを通すと空になります。内容のあるメッセージを加えてください",
        "make an empty prompt; add a message that has content",
    ),
    "reason_no_infill": Message("このモデルは文章の途中を補えません", "needs a model that can fill in the middle"),
    "reason_empty_prompt": Message(
        "空にはできません（このモデルには文章を始めるトークンがありません）",
        "must not be empty: this model has no token to begin with",
    ),
    "reason_empty_input": Message("トークンが 1 つもありません", "has no tokens"),
    # Files
    "reason_is_folder": Message("フォルダです。.gguf ファイルを指定してください", "it is a folder, not a .gguf file"),
    "reason_is_device": Message(
        "デバイスかパイプです。.gguf ファイルを指定してください", "it is a device or a pipe, not a .gguf file"
    ),
    "reason_is_empty": Message(
        "ファイルが空です。ダウンロードし直してください", "the file is empty: download it again"
    ),
    "reason_no_path": Message("パスに使えない文字があります", "its path has a character that no path can have"),
    "reason_no_thread": Message(
        "スレッドを作れません。ほかのプログラムを終了するか、プロセス数の上限 (ulimit -u) を上げてください（{words}）",
        "no thread can be started: end other programs, or raise the limit of processes, ulimit -u ({words})",
    ),
    "reason_model_refused": Message(
        "ファイルが壊れているか、この版の llama.cpp が対応していないモデルです。ダウンロードし直すか、"
        "別のファイルをお使いください（llama.cpp: {words}）",
        "the file is damaged, or a model that this version of llama.cpp does not know: download it again, or use "
        "another one (llama.cpp: {words})",
    ),
    "reason_adapter_refused": Message(
        "ファイルが壊れているか、このモデル用のアダプターではありません。モデルに合うものを指定してください（{words}）",
        "the file is damaged, or an adapter for another model: name one that was made for this model ({words})",
    ),
    "reason_template_no_file": Message("通常のファイルではありません", "it is no file"),
    "reason_template_too_large": Message("{limit} バイトを超えています", "it has more than {limit} bytes"),
    "reason_template_empty": Message("中身が空です", "there is nothing in it"),
    "reason_template_no_utf8": Message(
        "UTF-8 の文字ではありません。文字コードを UTF-8 にして保存してください", "it is no UTF-8: save it as UTF-8"
    ),
    "reason_template_refused": Message(
        "Jinja テンプレートとして使えません。書き方を確かめてください（{words}）",
        "it is no Jinja template that can be used: check how it is written ({words})",
    ),
    "reason_load_unsupported": Message(
        "この版ではまだ使えないモデルです。別のモデルをお使いください（{words}）",
        "this version cannot use such a model yet: use another one ({words})",
    ),
    "reason_load_broke": Message(
        "推論エンジンが準備の途中で失敗しました。n_ctx や kv_type などの設定を見直すか、"
        "別のファイルをお使いください（{words}）",
        "the engine failed on the way: check n_ctx, kv_type and the model's other settings, or use another "
        "file ({words})",
    ),
    "reason_load_argument": Message(
        "設定 '{field}': {reason}。モデルの項目か、同じ名前の設定を直してください",
        "'{field}' {reason}: correct it in the model's entry, or the setting of this name",
    ),
    "reason_load_unexpected": Message(
        "予期しないエラーが起きました。サーバーのログを確かめてください（{words}）",
        "something unexpected happened: see the server's log ({words})",
    ),
    # JSON schemas as a whole
    "reason_schema_no_json": Message("JSON として読めません（JSON: {words}）", "is no JSON (JSON: {words})"),
    "reason_schema_no_object": Message("オブジェクトにしてください", "must be an object"),
    "reason_no_schema": Message(
        "スキーマ（オブジェクト、true、false のどれか）にしてください", "must be a schema: an object, true or false"
    ),
    "reason_schema_too_large": Message("大きすぎます。小さくするか、分けてください", "is too large"),
    "reason_schema_too_long": Message("{limit} 文字を超えています", "is longer than {limit} characters"),
    "reason_schemas_too_deep": Message(
        "スキーマの入れ子が深すぎます（{limit} 段まで）", "is nested deeper than {limit} schemas"
    ),
    "reason_too_many_brackets": Message(
        "かっこの入れ子が深すぎます（{limit} 段まで）", "is nested deeper than {limit} brackets"
    ),
    "reason_too_many_schemas": Message("スキーマが多すぎます（{limit} 個まで）", "holds more than {limit} schemas"),
    "reason_too_many_properties": Message(
        "プロパティが多すぎます（{limit} 個まで）", "declares more than {limit} properties"
    ),
    "reason_too_many_alternatives": Message(
        "選択肢の組み合わせが多すぎます（{limit} 通りまで）", "has more than {limit} alternatives"
    ),
    "reason_endless": Message(
        "終わる値がありません。必須の項目が自分自身を含んでいます",
        "has no value that ends: something required holds itself",
    ),
    "reason_contradiction": Message("矛盾していて、合う値がありません", "contradicts itself: no value matches"),
    # References
    "reason_ref_elsewhere": Message(
        "別の文書を参照しています。外の文書は取得しません", "refers to another document, which is never fetched"
    ),
    "reason_ref_anchor": Message(
        "アンカーを参照しています。使えるのは #/$defs/name のような JSON ポインタだけです",
        "refers to an anchor: only JSON pointers, such as #/$defs/name, are supported",
    ),
    "reason_ref_nothing": Message("参照先 {ref} がありません", "refers to nothing: there is no {ref}"),
    "reason_ref_no_schema": Message("参照先 {ref} はスキーマではありません", "refers to what is no schema: {ref}"),
    "reason_ref_itself": Message("参照が自分自身に戻り、終わりません", "refers to itself, or to others without end"),
    # What a keyword holds
    "reason_no_schemas": Message("1 つ以上のスキーマの配列にしてください", "must be a list of at least one schema"),
    "reason_no_named_schemas": Message(
        "値がスキーマであるオブジェクトにしてください", "must be an object that holds schemas"
    ),
    "reason_no_type": Message(
        "型の名前、または重複のない型の名前の配列にしてください: {names}",
        "must be a type's name or a list of different ones: {names}",
    ),
    "reason_no_values": Message("1 つ以上の値の配列にしてください", "must be a list of at least one value"),
    "reason_no_names": Message("重複のない文字列の配列にしてください", "must be a list of different names"),
    "reason_no_named_names": Message(
        "値が重複のない文字列の配列であるオブジェクトにしてください", "must be an object of lists of different names"
    ),
    "reason_no_count": Message("0 以上の整数にしてください", "must be a whole number, not below 0"),
    "reason_no_number": Message("数値にしてください", "must be a number"),
    "reason_no_divisor": Message("0 より大きい数値にしてください", "must be a number above 0"),
    "reason_no_string": Message("文字列にしてください", "must be a string"),
    "reason_no_switch": Message("true か false にしてください", "must be true or false"),
    "reason_is_above": Message("{high} より大きい値です", "is above {high}"),
    "reason_enum_too_long": Message("値が多すぎます（{limit} 個まで）", "has more than {limit} values"),
    # What no grammar can hold to
    "reason_unenforceable": Message("守らせることができません", "cannot be enforced"),
    "reason_too_large": Message("大きすぎて、守らせることができません", "is too large to be enforced"),
    "reason_one_of_both": Message(
        "守らせることができません。{i} と {j} の両方に合う値がありえます。'anyOf' にするか、"
        "両方に必須のプロパティを置き、異なる 'const' を与えてください",
        "cannot be enforced: a value may match both {i} and {j}; say anyOf, or give both a required property with "
        "different constants",
    ),
    "reason_beside_many": Message(
        "プロパティが多すぎて、守らせることができません", "cannot be enforced beside so many properties"
    ),
    "reason_names_free": Message(
        "プロパティ名が自由なので、守らせることができません", "cannot be enforced where names are free"
    ),
    "reason_one_pattern": Message("使えるパターンは 1 つだけです", "can be enforced for one pattern only"),
    "reason_names_only": Message(
        "使えるのは、名前の一覧か、文字列のスキーマだけです", "can be enforced for a list of names or a string only"
    ),
    "reason_beside_schemas": Message(
        "ほかのスキーマと合わせると、守らせることができません", "cannot be enforced beside other schemas"
    ),
    "reason_set_too_large": Message(
        "使えるのは、項目が {limit} 個以下の値の一覧から選ばれるときだけです",
        "can be enforced for items from a list of at most {limit} values only",
    ),
    "reason_beside_others": Message(
        "この文字列のほかの条件と合わせると、守らせることができません",
        "cannot be enforced together with what else is said about the string",
    ),
    "reason_no_format": Message("使えない形式です", "is no known format"),
    "reason_no_format_of": Message("使えない形式です。使える形式: {names}", "is none of {names}"),
    "reason_bounds_too_large": Message(
        "範囲と合わせると文法が大きくなりすぎます", "needs too large a grammar together with the bounds"
    ),
    "reason_count_too_large": Message(
        "{limit} を超えているので、守らせることができません", "is above {limit}, and cannot be enforced"
    ),
    "reason_no_decimal": Message("有限の小数で表せません", "is no decimal fraction"),
    "reason_divisor_too_large": Message(
        "使えるのは {limit} までの数と、その 10 の累乗倍だけです",
        "is not supported: only up to {limit}, and powers of ten times that",
    ),
    "reason_too_many_digits": Message("桁が多すぎます", "has too many digits"),
    # Regular expressions
    "reason_of_pattern": Message("{pattern}: {why}", "{pattern} {why}"),
    "reason_no_regex": Message("正規表現として読めません。{why}", "is no regular expression: it {why}"),
    "reason_regex_unenforceable": Message("守らせることができません。{why}", "cannot be enforced: it {why}"),
    "reason_regex_too_large": Message("大きすぎて、守らせることができません", "cannot be enforced: it is too large"),
    "reason_regex_unbalanced": Message("かっこの対応が取れていません", "has an unbalanced parenthesis"),
    "reason_regex_too_deep": Message("入れ子が深すぎます（{limit} 段まで）", "is nested deeper than {limit} levels"),
    "reason_regex_repeats_anchor": Message("^ や $ は繰り返せません", "repeats an anchor"),
    "reason_regex_bounds": Message(
        "繰り返しの回数が {low} から {high} になっています", "repeats from {low} to {high} times"
    ),
    "reason_regex_repeats_much": Message("繰り返しが {limit} 回を超えています", "repeats more than {limit} times"),
    "reason_regex_repeats_repetition": Message("繰り返しをさらに繰り返しています", "repeats a repetition"),
    "reason_regex_repeats_nothing": Message("繰り返す対象がありません", "has nothing to repeat"),
    "reason_regex_open_bound": Message(
        "{{,n}} は処理系によって意味が違います。{{0,n}} と書いてください",
        "holds {{,n}}, which means different things in different dialects: write {{0,n}}",
    ),
    "reason_regex_looks_behind": Message("後読みは使えません", "looks behind"),
    "reason_regex_group": Message(
        "先読みや、知らない種類のグループは使えません", "looks ahead, or has a group of an unknown kind"
    ),
    "reason_regex_parenthesis": Message("閉じかっこ ) がありません", "lacks a closing parenthesis"),
    "reason_regex_odd_class": Message(
        "] で始まる文字クラスは処理系によって意味が違います。\\] と書いてください",
        "has a class that begins with ], which means different things in different dialects: write \\]",
    ),
    "reason_regex_range_of_class": Message("範囲の端が文字クラスです", "has a range whose end is a class"),
    "reason_regex_range_backwards": Message("範囲の端が逆です", "has a range that ends before it begins"),
    "reason_regex_bracket": Message("閉じかっこ ] がありません", "lacks a closing bracket"),
    "reason_regex_backslash": Message("\\ で終わっています", "ends with a backslash"),
    "reason_regex_surrogate": Message("サロゲートペアの片方だけです", "holds half of a surrogate pair"),
    "reason_regex_no_character": Message(
        "サロゲートペアの片方か、文字ではない番号があります",
        "holds half of a surrogate pair, or a number that is no character",
    ),
    "reason_regex_incomplete_escape": Message("エスケープが途中で終わっています", "has an incomplete escape"),
    "reason_regex_escape": Message("\\{char} というエスケープは使えません", "holds the escape \\{char}"),
}
