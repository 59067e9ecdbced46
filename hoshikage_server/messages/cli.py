"""What the command line says of itself: helps, and what is wrong with a call."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

CLI: dict[str, Message] = {
    # Click's own words
    "cli_usage": Message("使い方: ", "Usage: "),
    "cli_options": Message("オプション", "Options"),
    "cli_commands": Message("コマンド", "Commands"),
    "cli_help": Message("この説明を表示します。", "Show this help."),
    "cli_see_help": Message("'{command} --help' で使い方が見られます。", "'{command} --help' shows how it is used."),
    "cli_no_such_option": Message("{name} というオプションはありません。", "There is no option {name}."),
    "cli_no_such_command": Message("'{name}' というコマンドはありません。", "There is no command '{name}'."),
    "cli_did_you_mean": Message("もしかして: {names}", " Did you mean {names}?"),
    "cli_missing_parameter": Message("{name} を指定してください。", "{name} is missing."),
    "cli_bad_option": Message("{name} の使い方が正しくありません。", "{name} cannot be used like that."),
    "cli_bad_parameter": Message(
        "{name} の値が正しくありません: {reason}", "The value of {name} cannot be used: {reason}"
    ),
    "cli_empty": Message("空にはできません。", "it must not be empty."),
    "cli_expected": Message("指定できるのは次のとおりです: {what}", "expected {what}."),
    "cli_expected_range": Message(
        "{least} から {most} までで指定してください。", "expected a number from {least} to {most}."
    ),
    "cli_reference": Message(
        "# コマンド\n\n"
        "各コマンドの --help から `python -m build_support.cli_reference` で作られています。[English](cli.md)\n\n"
        "終了ステータスは、0 が成功、1 が失敗、2 が使い方の誤り、3 がサーバーに接続できない、4 が見つからない、"
        "130 が Ctrl-C です。",
        "# Commands\n\n"
        "Made from what each says of itself, by `python -m build_support.cli_reference`. [日本語](cli.ja.md)\n\n"
        "The exit status is 0 when all went well, 1 for a failure, 2 for a wrong call, 3 where no server "
        "answers, 4 where "
        "something is not found, 130 after Ctrl-C.",
    ),
    "output_closed": Message("標準出力が閉じられています", "standard output is closed"),
    "output_failed": Message("出力できませんでした: {reason}", "The output could not be written: {reason}"),
    # Helps: the first line stands in the list of commands.
    "cli_hoshikage": Message(
        "星影（Hoshikage）: 手元のマシンで動く言語モデルを、OpenAI互換APIで。",
        "Hoshikage: language models on your own machine, behind OpenAI's API.",
    ),
    "cli_serve": Message("登録したモデルのサーバーを起動します。", "Serve the registered models."),
    "cli_serve_host": Message(
        "待ち受けるアドレス（HOSHIKAGE_HOST、127.0.0.1）。", "Address to listen on (HOSHIKAGE_HOST, 127.0.0.1)."
    ),
    "cli_serve_port": Message(
        "待ち受けるポート（HOSHIKAGE_PORT、3030）。", "Port to listen on (HOSHIKAGE_PORT, 3030)."
    ),
    "cli_url": Message(
        "サーバー: http://ホスト:ポート または unix:/パス（HOSHIKAGE_HOST と HOSHIKAGE_PORT から）。",
        "The server: http://HOST:PORT or unix:/PATH (from HOSHIKAGE_HOST and HOSHIKAGE_PORT).",
    ),
    "cli_status": Message(
        "サーバーの様子を表示します。モデルを起こすことはありません。",
        "Show what the server does and holds. It wakes nothing.",
    ),
    "cli_status_json": Message(
        "サーバーの応答をそのまま表示します（docs/status.md）。",
        "Print what the server told, as docs/status.md describes it.",
    ),
    "cli_status_watch": Message("Ctrl-C を押すまで1秒ごとに表示します。", "Show it again every second, until Ctrl-C."),
    "cli_load": Message(
        "モデル NAME を読み込み、次の応答がすぐ始まるようにします。",
        "Load the model NAME, so that its next answer begins at once.",
    ),
    "cli_unload": Message(
        "モデル NAME をメモリから下ろします。次のリクエストで読み込まれます。",
        "Take the model NAME out of memory; the next question loads it again.",
    ),
    "cli_root_version": Message("版を表示して終わります。", "Show the version and exit."),
    "cli_version": Message("版と、何がビルドされているかを表示します。", "Print the version, and what was built."),
}
