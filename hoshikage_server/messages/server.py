"""What is said of the server as a whole: its settings, its list of models, the demo model, the page at /."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

SERVER: dict[str, Message] = {
    # Settings, registry, command line
    "invalid_setting": Message(
        "設定 {name} が正しくありません: {reason}",
        "The setting {name} cannot be used: {reason}",
    ),
    "unknown_setting": Message(
        "この名前の設定はありません",
        "there is no setting of this name",
    ),
    "not_an_origin": Message(
        "https://chat.example.com や http://localhost:* のような「スキーム://ホスト[:ポート]」の形（または *、null）を"
        "カンマ区切りで指定してください",
        "expected scheme://host[:port], such as https://chat.example.com or http://localhost:*, or * or null, "
        "with commas between",
    ),
    "only_in_environment": Message(
        "このファイルのある場所なので、環境変数 HOSHIKAGE_CONFIG_DIR で指定してください",
        "it is where this file is found: set the variable HOSHIKAGE_CONFIG_DIR instead",
    ),
    "unknown_variable": Message(
        "環境変数 {name} は設定の名前ではないので、無視します。'hoshikage config' で設定の一覧が見られます。",
        "The variable {name} is no setting and is ignored. 'hoshikage config' shows all settings.",
    ),
    "address_in_use": Message(
        "{address} は既に使われています。ほかのプログラムを終了するか、--port で別のポートを指定してください。",
        "{address} is in use already: end the other program, or choose another port with --port.",
    ),
    "cannot_listen": Message(
        "{address} では待ち受けられません: {reason}",
        "Listening on {address} is not possible: {reason}",
    ),
    "invalid_model_map": Message(
        "モデル一覧 {path} を使えません。{reason}",
        "The model map {path} cannot be used: {reason}",
    ),
    "model_map_not_written": Message(
        "モデル一覧 {path} に書き込めませんでした: {reason}",
        "The model map {path} could not be written: {reason}",
    ),
    "open_without_keys": Message(
        "{host} で待ち受けるには HOSHIKAGE_API_KEYS が必要です。"
        "キーを設定するか、HOSHIKAGE_HOST を 127.0.0.1 にしてください。",
        "Listening on {host} needs HOSHIKAGE_API_KEYS: set keys, or set HOSHIKAGE_HOST to 127.0.0.1.",
    ),
    "no_models": Message(
        "登録されたモデルはありません。'hoshikage add ファイル.gguf 名前' で登録するか、'hoshikage model demo' "
        "で小さなデモモデルを取得できます。",
        "No models are registered. Register one with 'hoshikage add FILE.gguf NAME', or fetch a small demo model with "
        "'hoshikage model demo'.",
    ),
    "model_added": Message(
        "モデル '{model}' を登録しました: {path}",
        "Registered model '{model}': {path}",
    ),
    "model_removed": Message(
        "モデル '{model}' の登録を外しました（ファイルは残っています）。",
        "Removed model '{model}' from the list (its file stays).",
    ),
    "model_exists": Message(
        "モデル '{model}' は既に登録されています。"
        "置き換えるには 'hoshikage add --force' を使うか、先に登録を外してください。",
        "A model '{model}' is registered already. To replace it use 'hoshikage add --force', or remove it first.",
    ),
    "model_not_registered": Message(
        "モデル '{model}' は登録されていません。登録済みのモデルは 'hoshikage list' で分かります。",
        "No model '{model}' is registered. 'hoshikage list' shows those that are.",
    ),
    "invalid_model_name": Message(
        "モデルの名前 {name} は使えません。名前は 200 文字までで、前後の空白や制御文字、"
        "'/' で区切った空の部分や '.'、'..' は使えません。",
        "{name} cannot be a model's name: it has up to 200 characters, none of them a control character, no spaces at "
        "its ends, and no empty part, '.' or '..' between slashes.",
    ),
    "file_not_found": Message(
        "ファイル {path} が見つかりません。",
        "There is no file {path}.",
    ),
    "file_is_folder": Message(
        "{path} はフォルダです。GGUFファイルを指定してください。",
        "{path} is a folder: name a GGUF file.",
    ),
    "file_unreadable": Message(
        "{path} を読めません: {reason}",
        "{path} cannot be read: {reason}",
    ),
    "not_a_gguf": Message(
        "{path} はGGUFファイルではありません。",
        "{path} is not a GGUF file.",
    ),
    "listening": Message(
        "Hoshikage は {url} で待ち受けています。",
        "Hoshikage is listening on {url}.",
    ),
    # The demo model
    "demo_download": Message(
        "デモモデルをダウンロードしています（93 MB）…",
        "Downloading the demo model (93 MB)...",
    ),
    "demo_extract": Message(
        "デモモデルを取り出しています…",
        "Extracting the demo model...",
    ),
    "demo_ready": Message(
        "デモモデル '{model}' の準備ができました: {path}",
        "The demo model '{model}' is ready: {path}",
    ),
    "demo_download_failed": Message(
        "デモモデルをダウンロードできませんでした。ネットワークを確かめて、もう一度実行してください（{reason}）。",
        "The demo model could not be downloaded: check the network, and run the command again ({reason}).",
    ),
    "demo_bad_content": Message(
        "ダウンロードしたデモモデルの内容が正しくありません。もう一度実行すると、取得し直します（{reason}）。",
        "The downloaded demo model is not what it should be: run the command again to fetch it anew ({reason}).",
    ),
    "demo_no_space": Message(
        "デモモデルを {path} に書き込めませんでした: {reason}",
        "The demo model could not be written to {path}: {reason}",
    ),
    "demo_busy": Message(
        "別のプロセスが {seconds} 秒以上ダウンロードを続けています",
        "another process has been at it for more than {seconds} seconds",
    ),
    "demo_space": Message("{needed} 必要ですが、空きは {free} です", "{needed} are needed, {free} are free"),
    # The page at /
    "welcome": Message(
        "星影（Hoshikage）{version} — OpenAI互換APIは {url}/v1 です。\n"
        "モデル一覧: {url}/v1/models   状態: {url}/v1/status\n",
        "Hoshikage {version}: the OpenAI-compatible API is at {url}/v1\n"
        "Models: {url}/v1/models   Status: {url}/v1/status\n",
    ),
}
