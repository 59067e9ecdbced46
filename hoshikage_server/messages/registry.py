"""What is said of the registry: its file, its HTTP API, and folders that are searched for models."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

REGISTRY: dict[str, Message] = {
    # Settings
    "setting_models_dir": Message(
        "モデルを置くフォルダ（':' で区切って複数）。API で登録できるのはこの中のファイルだけで、"
        "'hoshikage model scan' はここを探します",
        "folders of models, with ':' between; the API registers only files in them, and 'hoshikage model scan' looks "
        "there",
    ),
    "setting_admin_keys": Message(
        "モデルやペルソナの登録・変更・削除ができるキー（カンマ区切り）。APIキーとしても使えます",
        "keys that may change the lists of models and personas, with commas between; they are API keys as well",
    ),
    "not_folders": Message(
        "フォルダを ':' で区切って指定してください（hoshikage.toml では文字列の配列でも書けます）",
        "expected folders with ':' between, or in hoshikage.toml a list of strings",
    ),
    # The file
    "map_at": Message("{line} 行目の {column} 文字目: {what}", "line {line}, column {column}: {what}"),
    "map_entry": Message("モデル '{model}': {what}", "{model}: {what}"),
    "json_not_utf8": Message(
        "UTF-8 の文字ではありません。文字コードを UTF-8 にして保存してください。",
        "this is no UTF-8: save the file as UTF-8.",
    ),
    "map_id_refused": Message(
        "モデル一覧 {path} の {line} 行目 {column} 文字目: モデル {name} は使えません。{reason}"
        "名前を書き直してください。ほかのモデルはそのまま使えます。",
        "The model map {path}, line {line}, column {column}: the model {name} is left out, as {reason}. Give it "
        "another name; the other models can be used.",
    ),
    "id_empty": Message("名前が空です。", "its name is empty"),
    "id_too_long": Message("名前が {limit} 文字を超えています。", "its name has more than {limit} characters"),
    "id_unprintable": Message("名前に制御文字が含まれています。", "its name holds control characters"),
    "map_no_object": Message(
        '全体を {{ }} で囲み、"名前": {{ … }} の形で書いてください。',
        'the file has to be one object: {{ "name": {{ ... }}, ... }}.',
    ),
    "map_entry_no_object": Message(
        '{model} の値は {{"path": "フォルダ", "model": "ファイル"}} の形で書いてください。',
        'the value of {model} has to be an object: {{"path": "folder", "model": "file"}}.',
    ),
    "map_key_again": Message(
        "'{key}' が同じ場所に2回書かれています。どちらかを消すか、名前を変えてください。",
        "'{key}' stands here for the second time: remove or rename one of them.",
    ),
    "map_locked": Message(
        "ほかのプロセスが {seconds} 秒以上ロックしています",
        "another process has locked it for more than {seconds} s",
    ),
    "map_no_unicode": Message(
        "{text} は UTF-8 として正しくないので JSON に書けません。ファイル名を変えてください",
        "{text} is no UTF-8 and cannot stand in JSON: rename the file",
    ),
    "json_colon_missing": Message("キーの後に ':' がありません。", "a ':' is missing after the key."),
    "json_comma_missing": Message(
        "',' か、閉じるかっこがありません。", "a ',' is missing, or the bracket that closes."
    ),
    "json_quotes_missing": Message(
        'キーは二重引用符（"）で囲んでください。', 'a key has to stand in double quotes (").'
    ),
    "json_single_quotes": Message(
        "JSON では ' は使えません。二重引用符（\"）にしてください。",
        'JSON knows no single quotes: write ".',
    ),
    "json_comma_at_end": Message(
        "最後の項目の後の ',' は余分です。消してください。", "the ',' after the last one is too much: remove it."
    ),
    "json_comment": Message("JSON にコメントは書けません。消してください。", "JSON has no comments: remove it."),
    "json_text_not_closed": Message(
        '文字列が閉じていません。行の終わりまでに " を書いてください。改行は \\n と書きます。',
        'a text is not closed: its " has to stand in the same line. A new line is written as \\n.',
    ),
    "json_backslash": Message(
        "'\\' はそのままでは書けません。'\\\\' と書いてください（Windows のフォルダなら '/' でも構いません）。",
        "a '\\' has to be written as '\\\\'.",
    ),
    "json_goes_on": Message(
        "JSON はこの前で終わっています。余分なものを消してください。", "the JSON ends before this: remove what follows."
    ),
    "json_ends_early": Message(
        "途中で終わっています。引用符か、閉じるかっこがありません。",
        "it ends too early: a quote or a bracket is not closed.",
    ),
    "json_malformed": Message("ここから先は JSON ではありません。", "this is no JSON."),
    "log_unused_key": Message(
        "モデル '{model}' の '{key}' は、この版ではまだ使われません（そのまま残します）",
        "'{key}' of the model '{model}' is kept, but this version does not use it yet",
    ),
    "log_model_registered": Message(
        "モデル '{model}' を登録しました: {file}", "the model '{model}' has been registered: {file}"
    ),
    "log_model_changed": Message("モデル '{model}' の設定を変更しました", "the model '{model}' has been changed"),
    "log_model_removed": Message("モデル '{model}' の登録を外しました", "the model '{model}' is off the list"),
    # Entries
    "alias_taken": Message(
        "'{param}': '{alias}' は既にモデル '{model}' の名前です。別の名前にしてください。",
        "Invalid '{param}': '{alias}' is a name of the model '{model}' already. Choose another one.",
    ),
    "path_not_allowed": Message(
        "'{param}' の {path} は、モデルのフォルダ（{folders}）の中にありません。"
        "ファイルをそこに置くか、HOSHIKAGE_MODELS_DIR にそのフォルダを加えてください。",
        "Invalid '{param}': {path} is not in a folder of models ({folders}). "
        "Put the file there, or add its folder to HOSHIKAGE_MODELS_DIR.",
    ),
    "map_not_a_file": Message("通常のファイルではありません。", "it is no regular file."),
    "map_too_large": Message("大きすぎます（{limit} バイトまで）。", "it is too large (at most {limit} bytes)."),
    "gguf_refused": Message(
        "{path} をモデルとして読み込めません: {reason}", "{path} cannot be loaded as a model: {reason}"
    ),
    "inspection_timeout": Message(
        "{seconds} 秒以内に調べ終わりませんでした", "it was not done within {seconds} seconds"
    ),
    "inspection_died": Message(
        "調べている間に異常終了しました（終了コード {status}）。ファイルが壊れているようです",
        "it died of it with exit status {status}: the file seems to be damaged",
    ),
    "invalid_model_file": Message(
        "{path} はモデルとして使えません: {reason}",
        "{path} cannot be used as a model: {reason}",
    ),
    "not_the_first_part": Message(
        "{path} は分割されたモデルの途中のファイルです。最初の {first} を指定してください。",
        "{path} is not the first file of its model: name {first}.",
    ),
    "parts_missing": Message(
        "{path} は分割されたモデルですが、足りないファイルがあります: {missing}",
        "{path} is a model in several files, and some are missing: {missing}.",
    ),
    "gguf_version": Message(
        "{path} は GGUF のバージョン {version} です。使えるのは 2 と 3 です。新しいファイルを使ってください。",
        "{path} is of GGUF version {version}; 2 and 3 can be used. Convert it again, or get a newer file.",
    ),
    "gguf_truncated": Message(
        "{path} は壊れているか、途中までしかありません。ダウンロードし直してください。",
        "{path} is damaged or not all there: download it again.",
    ),
    "files_silent": Message(
        "ディスクから {seconds} 秒以上応答がありません",
        "the disk has not answered for {seconds} s",
    ),
    "admin_key_required": Message(
        "この操作には管理キーが必要です。サーバーの HOSHIKAGE_ADMIN_KEYS に設定したキーを Authorization ヘッダーで"
        "送ってください。",
        "This needs an admin key: set HOSHIKAGE_ADMIN_KEYS on the server, and send one of them in the Authorization "
        "header.",
    ),
    # Scanning
    "scan_no_folder": Message(
        "フォルダ {path} がありません。作るか、別のフォルダを指定してください（省略時は HOSHIKAGE_MODELS_DIR です）。",
        "There is no folder {path}: create it, or name another one (by default HOSHIKAGE_MODELS_DIR).",
    ),
    "scan_projector": Message(
        "{path} は画像などを読むための部品（mmproj）で、単独のモデルではありません。",
        "{path} is the projector (mmproj) of a model and no model itself.",
    ),
    "scan_adapter": Message(
        "{path} は LoRA アダプターです。使うモデルの 'lora' に書いてください。",
        "{path} is a LoRA adapter: name it under 'lora' of the model it is for.",
    ),
    "scan_imatrix": Message(
        "{path} は量子化に使う重要度行列で、モデルではありません。",
        "{path} is an importance matrix for quantising and no model.",
    ),
    "scan_no_weights": Message(
        "{path} には重みがなく、語彙だけです。",
        "{path} has no weights, only a vocabulary.",
    ),
    "scan_leads_out": Message(
        "{path} はモデルのフォルダの外へのリンクです。リンク先のフォルダを HOSHIKAGE_MODELS_DIR に加えてください。",
        "{path} is a link that leads out of its folder of models: add where it leads to HOSHIKAGE_MODELS_DIR.",
    ),
    "no_such_home": Message(
        "'{param}' の {path} にあるユーザーのホームフォルダが分かりません。",
        "Invalid '{param}': the home folder in {path} is not known.",
    ),
}
