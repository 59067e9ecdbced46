"""What the commands say that talk to a running server."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

CLIENT: dict[str, Message] = {
    "address_unusable": Message("アドレスの書き方が正しくありません", "this cannot be an address"),
    "path_unusable": Message("パスに使えない文字があります", "its path has a character that no path can have"),
    "invalid_url": Message(
        "{url} はサーバーのURLとして使えません。http://ホスト:ポート または unix:/パス と書いてください。",
        "{url} is no URL of a server: write http://HOST:PORT or unix:/PATH.",
    ),
    "server_unreachable": Message(
        "{url} では Hoshikage が動いていないようです（{reason}）。"
        "'hoshikage serve' で起動するか、HOSHIKAGE_HOST、HOSHIKAGE_PORT、--url を確かめてください。",
        "No Hoshikage seems to run at {url} ({reason}): start it with 'hoshikage serve', or check HOSHIKAGE_HOST, "
        "HOSHIKAGE_PORT or --url.",
    ),
    "server_silent": Message(
        "{url} から {seconds} 秒以内に応答がありませんでした。",
        "{url} did not answer within {seconds} seconds.",
    ),
    "server_refused": Message(
        "サーバーからの応答: {reason}",
        "the server answered: {reason}",
    ),
    "server_needs_key": Message(
        "{url} のサーバーを使うにはAPIキーが必要です。サーバーに設定したキーを HOSHIKAGE_API_KEYS に"
        "（または hoshikage.toml の api_keys に）設定してください。",
        "The server at {url} needs an API key: set HOSHIKAGE_API_KEYS (or api_keys in hoshikage.toml) to one of its "
        "keys.",
    ),
    "server_refuses_key": Message(
        "{url} のサーバーは、設定されているAPIキーを受け付けません。送られるのは HOSHIKAGE_API_KEYS"
        "（なければ HOSHIKAGE_ADMIN_KEYS、または hoshikage.toml の同じ項目）の最初のキーです。"
        "サーバーのキーに合わせてください。",
        "The server at {url} does not accept the API key that is set, which is the first one of HOSHIKAGE_API_KEYS "
        "(else of HOSHIKAGE_ADMIN_KEYS, or of the same in hoshikage.toml): set it to one of the server's.",
    ),
    "server_unknown": Message(
        "{url} の応答を理解できません。別のプログラムか、別の版の Hoshikage のようです（HTTP {status}）。",
        "The answer of {url} makes no sense: another program, or another version of Hoshikage (HTTP {status}).",
    ),
    "model_loaded": Message("モデル '{model}' を読み込みました", "the model '{model}' is loaded"),
    "model_was_loaded": Message("モデル '{model}' は読み込み済みです", "the model '{model}' was loaded already"),
    "model_unloaded": Message("モデル '{model}' をアンロードしました", "the model '{model}' is unloaded"),
    "model_was_unloaded": Message("モデル '{model}' は読み込まれていません", "the model '{model}' was not loaded"),
    "with_details": Message("{sentence}（{details}）", "{sentence} ({details})"),
    # Figures
    "time_s": Message("{s} 秒", "{s} s"),
    "time_min": Message("{m} 分 {s} 秒", "{m} min {s} s"),
    "time_h": Message("{h} 時間 {m} 分", "{h} h {m} min"),
    "time_d": Message("{d} 日 {h} 時間", "{d} d {h} h"),
    "time_for": Message("{time}前から", "for {time}"),
    "time_ago": Message("{time}前", "{time} ago"),
    "time_left": Message("あと {time}", "for {time} more"),
    "status_loaded_in": Message("読み込み {time}", "loaded in {time}"),
    "status_unloads_in": Message("{time}後にアンロード", "unloads in {time}"),
    "status_took": Message("所要 {time}", "took {time}"),
    "status_last": Message("最後は {what}", "the last: {what}"),
    "comma": Message("、", ", "),
    "status_given_back": Message("{sizes} を解放", "{sizes} given back"),
    "status_stayed": Message("残っているもの: {what}", "{what} stayed"),
    "status_processes": Message("プロセス {pids}", "processes {pids}"),
    "status_degraded": Message("省メモリ: {steps}", "in less memory: {steps}"),
    "status_gpu_layers": Message("GPU {n}/{of} 層", "GPU {n} of {of} layers"),
    "status_no_gpu": Message("CPUのみ", "on the CPU"),
    "on_cpu": Message(
        "GPUではなくCPUで動いているため、遅くなります。{reason}",
        "The CPU computes instead of a GPU, which is slow. {reason}",
    ),
    "status_tokens": Message("{n} トークン", "{n} tokens"),
    "status_tokens_per_s": Message("{n} トークン/秒", "{n} tokens/s"),
    "status_resumed": Message("再開 {n} 回", "resumed: {n}"),
    "status_running": Message("実行中 {n}/{limit}", "{n} of {limit} running"),
    "status_waiting": Message("待ち {n}/{limit}", "{n} of {limit} waiting"),
    "status_longest": Message("最長 {time}", "the longest for {time}"),
    "status_crash_count": Message("起動 {n_starts} 回のうち {n_crashes} 回", "{n_crashes} in {n_starts} starts"),
    "status_since_load": Message("読み込みから {energy}", "{energy} since the load"),
    "status_per_token": Message("1 トークンあたり {energy}", "{energy} a token"),
    "status_last_answer": Message("直近の応答 {energy}", "the last answer {energy}"),
    "status_in_all": Message("合計 {energy}", "{energy} in all"),
    # Rows
    "row_server": Message("サーバー", "Server"),
    "row_state": Message("状態", "State"),
    "row_engines": Message("エンジン", "Engines"),
    "row_no_gpu": Message("GPUなし", "No GPU"),
    "row_gpus": Message("GPU", "GPUs"),
    "row_energy": Message("消費電力量", "Energy"),
    "row_queue": Message("順番", "Queue"),
    "row_requests": Message("リクエスト", "Requests"),
    "row_speed": Message("直近の速度", "Last speed"),
    "row_load": Message("直近の読み込み", "Last load"),
    "row_unload": Message("直近のアンロード", "Last unload"),
    "row_crashes": Message("異常終了", "Crashes"),
    "row_retry": Message("読み込み保留", "Left alone"),
    "row_error": Message("直近のエラー", "Last error"),
    "row_model_map": Message("モデル一覧", "Model map"),
    # States of the server and its engines, and phases of a request
    "state_unloaded": Message("消灯中", "dark"),
    "state_loading": Message("読み込み中", "loading"),
    "state_ready": Message("待機中", "ready"),
    "state_generating": Message("生成中", "generating"),
    "state_unloading": Message("アンロード中", "unloading"),
    "state_failed": Message("失敗", "failed"),
    "phase_queued": Message("順番待ち", "queued"),
    "phase_loading": Message("読み込み待ち", "loading"),
    "phase_prefill": Message("入力の処理中", "prefill"),
    "phase_decode": Message("生成中", "decode"),
}
