"""What is said of personas: to clients, at the terminal, and to models."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

PERSONAS: dict[str, Message] = {
    # To the model, in the language that it shall answer in
    "answer_language": Message("必ず日本語で答えてください。", "Always answer in English."),
    "answer_language_auto": Message(
        "ユーザーが使っている言語で答えてください。", "Answer in the language that the user writes in."
    ),
    # Requests
    "unknown_parameter": Message(
        "'{param}' という項目はありません。使える項目: {supported}。",
        "Unknown parameter: '{param}'. Supported here are: {supported}.",
    ),
    "persona_only_chats": Message(
        "ペルソナ '{persona}' は会話用のため、ここでは使えません。"
        "モデル '{model}' をそのまま指定するか、POST /v1/chat/completions を使ってください。",
        "The persona '{persona}' is a way to chat and cannot be used here. "
        "Ask for the model '{model}' itself, or use POST /v1/chat/completions.",
    ),
    "model_persona_not_found": Message(
        "モデル '{model}' は登録されていますが、'{persona}' というペルソナはありません。"
        "使えるペルソナは GET /v1/personas または 'hoshikage persona list' で分かります。",
        "There is a model '{model}', but no persona '{persona}'. "
        "GET /v1/personas and 'hoshikage persona list' show those that there are.",
    ),
    "persona_without_model": Message(
        "ペルソナ '{persona}' が使うモデル '{model}' は登録されていません。"
        "'hoshikage add ファイル.gguf {model}' で登録するか、"
        "'hoshikage persona edit {persona}' でモデルを変えてください。",
        "The persona '{persona}' wants the model '{model}', which is not registered. Register it with "
        "'hoshikage add FILE.gguf {model}', or name another one with 'hoshikage persona edit {persona}'.",
    ),
    "persona_on_persona": Message(
        "ペルソナ '{persona}' のモデル '{model}' は、モデルではなくペルソナです。"
        "登録したモデル（'hoshikage list'）を指定するか、model を書かずに最初のモデルを使ってください。",
        "The persona '{persona}' names '{model}' as its model, which is a persona. Name a registered model "
        "('hoshikage list' shows them), or none, to use the first one.",
    ),
    "persona_avatar": Message(
        "'{param}' に {got} は使えません。絵文字か 16 文字までの文字（':' と '/' と空白を除く）、"
        "または画像そのものを含む data:image/ のURLにしてください。"
        "ほかのサーバーの画像は、見る人の接続先が知られるので使えません。",
        "Invalid '{param}': {got}. Use an emoji or up to 16 letters (no ':', '/' or space), or a data:image/ URL that "
        "holds the image. Pictures of other servers cannot be used: those would learn of everybody who looks.",
    ),
    "persona_without_models": Message(
        "ペルソナ '{persona}' を使うには、モデルが必要です。'hoshikage add ファイル.gguf 名前' で登録してください。",
        "The persona '{persona}' needs a model, and none is registered. "
        "Register one with 'hoshikage add FILE.gguf NAME'.",
    ),
    "persona_not_found": Message(
        "'{persona}' というペルソナはありません。"
        "一覧は 'hoshikage persona list' または GET /v1/personas で見られます。",
        "There is no persona '{persona}'. 'hoshikage persona list' and GET /v1/personas show those that there are.",
    ),
    "persona_exists": Message(
        "ペルソナ '{persona}' は既にあります。置き換えるには --force を付ける（APIでは PUT を使う）か、"
        "別の名前にしてください。",
        "A persona '{persona}' exists already. Replace it with --force (PUT in the API), or choose another name.",
    ),
    "persona_builtin": Message(
        "ペルソナ '{persona}' は組み込みのため、削除できません。"
        "変えるには 'hoshikage persona edit {persona}' で自分用のものを作ってください。",
        "The persona '{persona}' is built in and cannot be deleted. "
        "'hoshikage persona edit {persona}' makes one of your own that is used in its place.",
    ),
    "too_many_personas": Message(
        "ペルソナは {limit} 個までです。使わないものを 'hoshikage persona rm 名前' で削除してください。",
        "There can be {limit} personas at most: delete some with 'hoshikage persona rm NAME'.",
    ),
    "invalid_persona_id": Message(
        "{name} はペルソナの名前（ID）に使えません。文字か数字で始め、文字、数字、'-'、'_'、'.' だけを使って "
        "{limit} 文字以内にしてください。",
        "{name} cannot be a persona's id. Begin with a letter or digit, use letters (of any script), digits, '-', '_' "
        "and '.' only, and at most {limit} characters.",
    ),
    # Files
    "invalid_persona": Message(
        "ペルソナのファイル {where} を読めません: {reason}",
        "The persona's file {where} cannot be used: {reason}",
    ),
    "persona_not_written": Message(
        "ペルソナのファイル {path} に書き込めませんでした: {reason}",
        "The persona's file {path} could not be written: {reason}",
    ),
    "persona_number": Message("nan や inf は使えません", "nan and inf cannot be used as numbers"),
    "persona_date": Message(
        "日付や時刻は使えません。文字列にするには引用符で囲んでください",
        "dates and times cannot be used; put quotes around it to make it a text",
    ),
    "persona_named_as_model": Message(
        "'{persona}' はモデルの名前です。ペルソナには別の名前を付けてください。",
        "'{persona}' is the name of a model: give the persona another one.",
    ),
    "persona_too_large": Message("大きすぎます（{limit} バイトまで）", "it is too large (at most {limit} bytes)"),
    "persona_no_file": Message("通常のファイルではありません", "it is no ordinary file"),
    # The command line: helps
    "cli_personas": Message(
        "ペルソナ（答え方の設定）を見たり、作ったり、試したりします。",
        "Show, make and try personas: named ways to answer.",
    ),
    "cli_persona_list": Message("ペルソナの一覧を表示します。", "List the personas."),
    "cli_persona_list_json": Message("一覧をJSONで表示します。", "Print the list as JSON."),
    "cli_persona_show": Message("ペルソナ ID の内容を表示します。", "Show what the persona ID says."),
    "cli_persona_show_json": Message("内容をJSONで表示します。", "Print it as JSON."),
    "cli_persona_add": Message(
        "ペルソナ ID を、オプションまたは FILE.toml の内容で作ります。\n\n"
        '例: hoshikage persona add haiku --name 俳人 --system "俳句で答えてください。"\n\n'
        "FILE.toml だけを指定すると、そのファイル名が ID になります。",
        "Make the persona ID from options, or from FILE.toml.\n\n"
        'For example: hoshikage persona add haiku --name Poet --system "Answer in haiku."\n\n'
        "With FILE.toml alone, the file's name is the ID.",
    ),
    "cli_persona_add_name": Message("表示名。", "Its name for people."),
    "cli_persona_add_description": Message("短い説明。", "A word about it."),
    "cli_persona_add_system": Message("システムプロンプト。", "Its system prompt."),
    "cli_persona_add_model": Message(
        "使うモデル。指定しなければ最初に登録されたモデル。",
        "The model it runs on; without it the first one registered.",
    ),
    "cli_persona_add_language": Message("答える言語。", "The language it answers in."),
    "cli_persona_add_greeting": Message("会話を始めるときのあいさつ。", "What it says when a chat begins."),
    "cli_persona_add_temperature": Message("サンプリングの温度（0〜2）。", "Temperature of sampling (0 to 2)."),
    "cli_persona_add_stop": Message(
        "応答を終える文字列。何度でも指定できます。", "A text that ends an answer; may be given several times."
    ),
    "cli_persona_add_thinking": Message("推論モデルに考えさせるかどうか。", "Whether a reasoning model reasons."),
    "cli_persona_add_avatar": Message(
        "アイコン: 絵文字、短い文字、または data:image/ のURL。",
        "Its picture: an emoji, a few letters, or a data:image/ URL.",
    ),
    "cli_persona_add_force": Message("同じ ID のペルソナを置き換えます。", "Replace a persona of the same ID."),
    "cli_persona_edit": Message(
        "ペルソナ ID をエディタ（VISUAL または EDITOR）で編集します。\n\n"
        "組み込みのペルソナは、自分用に写しを作ってから編集します。",
        "Edit the persona ID with VISUAL or EDITOR.\n\nA built-in one is copied first: the copy is yours.",
    ),
    "cli_persona_rm": Message("ペルソナ ID を削除します。", "Delete the persona ID."),
    "cli_persona_try": Message(
        "ペルソナ ID の会話がどう始まるかを表示します。\n\n"
        "MESSAGE を付けると、代わりに応答を表示します（サーバーが動いていなければ、その場でモデルを読み込みます）。",
        "Show how a chat with the persona ID begins.\n\n"
        "A MESSAGE is answered instead, by the running server, or else right here.",
    ),
    "persona_try_nothing_asked": Message(
        "--max-tokens、--url、--local は MESSAGE と一緒に指定してください。",
        "--max-tokens, --url and --local need a MESSAGE that is to be answered.",
    ),
    "cli_persona_try_language": Message("答える言語。", "The language to answer in."),
    # The command line: what it says
    "persona_added": Message("ペルソナ '{persona}' を作りました: {path}", "Made the persona '{persona}': {path}"),
    "persona_saved": Message("ペルソナ '{persona}' を保存しました: {path}", "Saved the persona '{persona}': {path}"),
    "persona_unchanged": Message("変更はありませんでした。", "Nothing was changed."),
    "persona_removed": Message("ペルソナ '{persona}' を削除しました。", "Deleted the persona '{persona}'."),
    "persona_restored": Message(
        "自分用の '{persona}' を削除しました。組み込みのペルソナに戻ります。",
        "Deleted your own '{persona}': the built-in one is back.",
    ),
    "persona_file_and_options": Message(
        "FILE.toml と内容のオプションは同時に指定できません。",
        "FILE.toml and options that say what is in it cannot be used together.",
    ),
    "persona_needs_name": Message(
        "--name または --system で内容を指定するか、FILE.toml を指定してください。",
        "Say what it is with --name or --system, or name a FILE.toml.",
    ),
    "persona_edit_again": Message("もう一度編集しますか？", "Edit it again?"),
    "persona_left_broken": Message(
        "{error}\n書いた内容は {path} に残っています。'hoshikage persona edit {persona}' で直せます。"
        "それまで、動いているサーバーは前の内容を使います。",
        "{error}\nWhat you wrote is kept in {path}: correct it with 'hoshikage persona edit {persona}'. "
        "Until then a running server uses what it was before.",
    ),
    "editor_failed": Message(
        "エディタを実行できませんでした（{reason}）。"
        "VISUAL または EDITOR にエディタのコマンドを設定するか、{path} を直接編集してください。",
        "The editor could not be run ({reason}): set VISUAL or EDITOR to an editor's command, or edit {path} yourself.",
    ),
    "persona_is_builtin": Message("組み込み", "built in"),
    "persona_is_own": Message("自分用", "yours"),
    "persona_is_override": Message("自分用（組み込みを置き換え）", "yours, in place of the built-in one"),
    "persona_any_model": Message("（最初のモデル）", "(the first one)"),
    "row_personas": Message("ペルソナ", "Personas"),
    "row_persona_id": Message("ID", "Id"),
    "row_persona_name": Message("名前", "Name"),
    "row_persona_model": Message("モデル", "Model"),
    "row_persona_language": Message("言語", "Language"),
    "row_persona_origin": Message("種類", "Kind"),
    "row_persona_file": Message("ファイル", "File"),
    "row_persona_system": Message("システムプロンプト", "System prompt"),
    "row_persona_greeting": Message("あいさつ", "Greeting"),
    "row_persona_example": Message("例", "Example"),
    "row_persona_answer": Message("その応答", "Its answer"),
}
