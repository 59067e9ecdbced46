"""What `hoshikage cache` says: why prompts were computed again."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

CACHE: dict[str, Message] = {
    "cli_cache": Message("計算済みのプロンプトの再利用を調べます。", "Look into what is reused of earlier prompts."),
    "cli_cache_explain": Message(
        "最近のプロンプトで計算を省けた分と、もっと省けなかった理由を表示します。\n\n"
        "見込みは、前のプロンプトと先頭から一致するトークンの数です。",
        "Show how much of the last prompts was reused, and why not more.\n\n"
        "Expected are the tokens that a prompt has in common with the beginning of an earlier one.",
    ),
    "cli_cache_json": Message(
        "JSONで表示します（docs/status.md の prompts）。", "Print JSON, as docs/status.md describes prompts."
    ),
    "cache_none": Message("まだプロンプトはありません。", "There have been no prompts yet."),
    "cache_at": Message("時刻", "When"),
    "cache_model": Message("モデル", "Model"),
    "cache_prompt": Message("プロンプト", "Prompt"),
    "cache_reused": Message("再利用", "Reused"),
    "cache_expected": Message("見込み", "Expected"),
    "cache_reason": Message("理由", "Why not more"),
    "cache_changed": Message(
        "messages[{message}] が {character} 文字目までしか前回と同じでないため、その後は計算し直しました。"
        "日時のように変わる内容は、最後のメッセージに入れてください。",
        "messages[{message}] is the same as before for {character} characters only, and all behind that was computed "
        "again: put what changes, such as the time, into the last message.",
    ),
    "cache_evicted": Message(
        "前回の計算結果を残しておく場所が足りませんでした。HOSHIKAGE_CACHE_RAM か n_ctx を増やしてください。",
        "What had been computed found no room to stay: raise HOSHIKAGE_CACHE_RAM or n_ctx.",
    ),
    "cache_restarted": Message(
        "モデルが読み込み直され、前回の計算結果は残っていませんでした。"
        "HOSHIKAGE_SLEEP_CACHE と HOSHIKAGE_IDLE_TIMEOUT を確かめてください。",
        "The model has been loaded anew, and what it had computed did not outlast that: see HOSHIKAGE_SLEEP_CACHE and "
        "HOSHIKAGE_IDLE_TIMEOUT.",
    ),
    "cache_cannot_cut": Message(
        "このモデルは、一致する部分の終わりまで戻れませんでした。"
        "戻れる場所を増やすには HOSHIKAGE_CACHE_RAM を増やしてください。",
        "This model could not go back to where the prompts part: more HOSHIKAGE_CACHE_RAM leaves more places to go "
        "back to.",
    ),
    "cache_disabled": Message(
        "リクエストに cache_prompt: false の指定がありました。", "The request said cache_prompt: false."
    ),
}
