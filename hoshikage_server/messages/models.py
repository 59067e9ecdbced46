"""What `hoshikage model ...` says, and what a hub of models is to blame for."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

MODELS: dict[str, Message] = {
    # Helps
    "cli_model_group": Message(
        "モデルの登録、一覧、設定、検証、ダウンロードをします。サーバーが動いていなくても使えます。",
        "Register, list, set up, verify and fetch models. No server is needed.",
    ),
    "cli_json": Message("ほかのプログラムのために、JSONで表示します。", "Print JSON, for other programs."),
    "cli_add": Message(
        "GGUFファイル PATH を LABEL という名前で登録します。\n\n"
        "後に並べた STOP は、応答をそこで終わらせる文字列です。複数のファイルに分かれたモデルは、"
        "最初のファイルを指定します。",
        "Register the GGUF file PATH under the name LABEL.\n\n"
        "Each STOP after them is a text that ends an answer. Of a model in several files, name the first.",
    ),
    "cli_add_force": Message(
        "同じ名前のモデルを置き換えます（ファイルと、そのモデルの設定のすべて）。",
        "Replace the model of this name: its file and all that its entry says.",
    ),
    "cli_add_n_ctx": Message("コンテキストのトークン数。", "Tokens of context."),
    "cli_add_thinking": Message(
        "推論モデルに、既定で考えさせるかどうか。", "Whether a reasoning model reasons unless a request says otherwise."
    ),
    "cli_rm": Message(
        "モデル LABEL の登録を外します。ファイルは残ります。", "Take the model LABEL off the list; its file stays."
    ),
    "cli_list": Message("登録されたモデルの一覧を表示します。", "List the registered models."),
    "cli_list_details": Message(
        "大きさ、登録の内容、ファイルの有無も表示します。",
        "Show sizes too, what entries say, and whether files are there.",
    ),
    "cli_show": Message(
        "モデル NAME（登録名またはGGUFファイル）の中身と、必要なメモリを表示します。",
        "Show what the model NAME (a registered one, or a GGUF file) is, and what memory it needs.",
    ),
    "cli_set": Message(
        "モデル NAME の設定を KEY=VALUE で変えます。'KEY=' で消します。\n\n"
        "値はJSON、または単語です。例: n_ctx=8192 thinking=false sampling.temperature=0.7 "
        "'stop=[\"</s>\"]'。使えるキーは 'hoshikage model schema' で分かります。",
        "Change what the entry of the model NAME says, by KEY=VALUE; 'KEY=' removes a key.\n\n"
        "Values are JSON or single words: n_ctx=8192 thinking=false sampling.temperature=0.7 "
        "'stop=[\"</s>\"]'. 'hoshikage model schema' shows the keys.",
    ),
    "cli_scan": Message(
        "FOLDER（省略時は HOSHIKAGE_MODELS_DIR）から新しいモデルを探して登録します。",
        "Register the models in FOLDER (or HOSHIKAGE_MODELS_DIR) that are not on the list yet.",
    ),
    "cli_verify": Message(
        "モデルのファイルが、登録された sha256 と一致するか確かめます。",
        "Check whether models' files have the sha256 that their entries tell.",
    ),
    "cli_verify_write": Message("sha256 がまだないモデルに書き込みます。", "Write it down where there is none yet."),
    "cli_schema": Message(
        "model_map.json のJSONスキーマを表示します。エディタでの入力補完に使えます。",
        "Print the JSON Schema of model_map.json, for editors.",
    ),
    "cli_pull": Message(
        "モデル hf:所有者/リポジトリ[:量子化] をダウンロードして登録します。\n\n"
        "量子化を省くと、ふつうは Q4_K_M を選びます。ファイル名でも指定できます。"
        "途中で止まっても、もう一度実行すれば続きから始まります。",
        "Fetch the model hf:OWNER/REPO[:QUANT] and register it.\n\n"
        "Without QUANT it is usually Q4_K_M that is fetched; a file's name does as well. After an interruption "
        "the same "
        "command goes on where it was.",
    ),
    "cli_pull_name": Message(
        "登録する名前。省略時はリポジトリの名前から付けます。",
        "The name to register it under; by default the repository's.",
    ),
    "cli_pull_mmproj": Message(
        "画像入力用のファイル（mmproj）も取得します。この版ではまだ使いません。",
        "Fetch the file with the model's eyes (mmproj) too; this version does not use it yet.",
    ),
    "cli_pull_force": Message("同じ名前のモデルを置き換えます。", "Replace the model of this name."),
    "cli_demo": Message(
        "小さなデモモデル（SmolLM2、93 MB）をダウンロードして、smollm2 という名前で登録します。",
        "Fetch the small demo model (SmolLM2, 93 MB) and register it as smollm2.",
    ),
    # Answers
    "arguments_swapped": Message(
        "ファイルと名前の順序が逆のようです。次のように入力してください: hoshikage add {path} {model}",
        "The file comes first, and then the name: hoshikage add {path} {model}",
    ),
    "file_missing": Message("ファイルなし", "no file"),
    "model_changed": Message(
        "モデル '{model}' の設定を変えました: {changes}", "Changed the model '{model}': {changes}"
    ),
    "key_removed": Message("{key} を削除", "{key} removed"),
    "not_key_value": Message(
        "'{given}' は KEY=VALUE の形ではありません。例: n_ctx=8192", "'{given}' is not KEY=VALUE, such as n_ctx=8192."
    ),
    "unknown_key": Message(
        "'{key}' というキーはありません。使えるキー: {keys}。{guesses}",
        "There is no key '{key}'. There are: {keys}.{guesses}",
    ),
    "scan_none": Message("新しいモデルは見つかりませんでした: {folders}", "No new models in {folders}."),
    # show
    "show_name": Message("名前", "Name"),
    "show_file": Message("ファイル", "File"),
    "show_arch": Message("アーキテクチャ", "Architecture"),
    "show_size": Message("大きさ", "Size"),
    "show_quantisation": Message("量子化", "Quantisation"),
    "show_context": Message("学習時のコンテキスト", "Trained context"),
    "show_template": Message("チャットテンプレート", "Chat template"),
    "show_thinking": Message("思考", "Reasoning"),
    "show_pooling": Message("プーリング", "Pooling"),
    "show_license": Message("ライセンス", "Licence"),
    "show_memory": Message("必要なメモリ", "Memory needed"),
    "show_plan": Message("読み込み時の配置", "When loaded"),
    "show_parallel": Message("同時 {n} 件", "{n} at once"),
    "plan_weights": Message("重み {size}", "weights {size}"),
    "plan_kv": Message("KVキャッシュ {size}", "KV cache {size}"),
    "plan_compute": Message("計算用 {size}", "compute {size}"),
    "plan_total": Message("計 {size}", "in all {size}"),
    "plan_free": Message("空き {free} / {total}", "{free} of {total} free"),
    "plan_short": Message("足りません", "too little"),
    "show_measured": Message("実測", "Measured"),
    "show_measured_at": Message(
        "{sizes}（{date}、マップしたファイルの分を除く）", "{sizes} (not counting the mapped file), {date}"
    ),
    "show_entry": Message("登録内容", "Entry"),
    "show_parts": Message("{size}（{n} ファイル）", "{size} in {n} files"),
    "show_tokens": Message("{n} トークン", "{n} tokens"),
    "show_params": Message("{arch}、{n} パラメータ、{layers} 層", "{arch}, {n} parameters, {layers} layers"),
    "show_no_template": Message("なし（ChatMLを使います）", "none (ChatML is used)"),
    "show_more_lines": Message("…（全 {n} 行）", "... ({n} lines)"),
    "yes": Message("あり", "yes"),
    # verify
    "verify_ok": Message("一致", "as it should be"),
    "verify_wrong": Message("不一致: {sha256}", "not as it should be: {sha256}"),
    "verify_none": Message(
        "登録に sha256 がありません（--write で書き込めます）", "no sha256 in its entry; --write stores it"
    ),
    "verify_written": Message("書き込みました: {sha256}", "stored: {sha256}"),
    "verify_missing": Message("ファイルを読めません: {reason}", "its file cannot be read: {reason}"),
    # A hub
    "hub_bad_reference": Message(
        "'{reference}' は読み取れません。hf:所有者/リポジトリ[:量子化] の形で指定してください。"
        "例: hf:Qwen/Qwen3-0.6B-GGUF:Q8_0",
        "'{reference}' is not of the form hf:OWNER/REPO[:QUANT], such as hf:Qwen/Qwen3-0.6B-GGUF:Q8_0.",
    ),
    "hub_not_installed": Message(
        "モデルのダウンロードには huggingface_hub が必要です。次のコマンドで入ります: {python} -m pip install "
        "huggingface_hub",
        "Fetching models needs huggingface_hub: {python} -m pip install huggingface_hub",
    ),
    "hub_repo_missing": Message(
        "リポジトリ {repo} は見つかりません。名前を確かめてください。非公開のものなら、環境変数 HF_TOKEN に"
        "トークンを設定してください。",
        "There is no repository {repo}: check its name. If it is private, set the variable HF_TOKEN to your token.",
    ),
    "hub_private": Message(
        "リポジトリ {repo} には許可が必要です。ハブのページで利用を申請し、環境変数 HF_TOKEN "
        "にトークンを設定してください。",
        "The repository {repo} asks for permission: request access on its page, and set the variable HF_TOKEN to your "
        "token.",
    ),
    "hub_refused": Message(
        "ハブがエラーを返しました（HTTP {status}）。しばらくしてから、もう一度お試しください。",
        "The hub answered with an error (HTTP {status}). Please try again later.",
    ),
    "hub_unreachable": Message(
        "ハブとの通信が途切れました（{reason}）。ネットワークを確かめて、同じコマンドをもう一度実行してください。"
        "続きから始まります。",
        "The hub could not be reached ({reason}): check the network and run the same command again. It goes on "
        "where it "
        "was.",
    ),
    "hub_no_gguf": Message(
        "リポジトリ {repo} にGGUFファイルはありません。名前が -GGUF で終わるリポジトリを探してみてください。",
        "The repository {repo} has no GGUF files: look for one whose name ends in -GGUF.",
    ),
    "hub_no_such_choice": Message(
        "リポジトリ {repo} に '{wanted}' はありません。選べるもの: {choices}",
        "The repository {repo} has no '{wanted}'. It has: {choices}",
    ),
    "hub_several": Message(
        "リポジトリ {repo} には候補が複数あります。hf:{repo}:名前 の形で一つ選んでください: {choices}",
        "The repository {repo} has several: choose one as hf:{repo}:NAME. There are: {choices}",
    ),
    "hub_parts_missing": Message(
        "リポジトリにある {name} は、分割されたファイルが {n} 個足りません。",
        "The repository lacks {n} parts of {name}.",
    ),
    "hub_no_mmproj": Message(
        "リポジトリ {repo} に mmproj のファイルはありません。", "The repository {repo} has no mmproj file."
    ),
    "hub_bad_path": Message(
        "リポジトリのファイル名 {path} は危険なので、取得しません。",
        "The repository's file {path} is refused: it has a dangerous name.",
    ),
    "hub_bad_checksum": Message(
        "{path} の内容がハブの示す sha256 と一致しないため、捨てました（{sha256}）。もう一度お試しください。",
        "{path} is not what the hub says it is (sha256 {sha256}) and was thrown away. Please try again.",
    ),
    "hub_busy": Message(
        "別のプロセスが {path} にダウンロードしています。終わるまでお待ちください。",
        "Another process is fetching {path}: wait until it has ended.",
    ),
    "hub_no_space": Message(
        "{path} の空きが足りません。{needed} 必要ですが、空きは {free} です。不要なファイルを消すか、"
        "HOSHIKAGE_MODELS_DIR で別の場所を指定してください。",
        "There is not enough space in {path}: {needed} are needed, {free} are free. Delete something, or set "
        "HOSHIKAGE_MODELS_DIR to another place.",
    ),
    "hub_disk_full": Message(
        "{path} を書き込む途中でディスクがいっぱいになりました。空きを作って、同じコマンドをもう一度実行してください。"
        "続きから始まります。",
        "The disk is full: {path} could not be written. Make room and run the same command again. It goes on where it "
        "was.",
    ),
    "hub_not_written": Message("{path} に書き込めませんでした: {reason}", "{path} could not be written: {reason}"),
    "pull_started": Message("{files} をダウンロードします（{size}）", "Fetching {files} ({size})"),
    "pull_mmproj_kept": Message(
        "画像入力用のファイルを保存しました（この版ではまだ使いません）: {path}",
        "The file with the model's eyes is kept, and not used by this version: {path}",
    ),
}
