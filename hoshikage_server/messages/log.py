"""What the log says to people. Lines of `name=value` fields are for programs and stand in no language."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

LOG: dict[str, Message] = {
    # An engine's life
    "log_engine_loads": Message("エンジン {pid} が {label} を読み込んでいます", "engine {pid} loads {label}"),
    "log_engine_ready": Message(
        "エンジン {pid} の準備ができました: {label}（{seconds} 秒）", "engine {pid} is ready: {label}, {seconds} s"
    ),
    "log_engine_degraded": Message(
        "{model} は指定どおりではメモリに収まらないため、省メモリで読み込みました: {steps}",
        "{model} does not fit as asked for; loaded with {steps}",
    ),
    "log_engine_no_gpu": Message(
        "{model} はGPUではなくCPUで動いているため、遅くなります。{reason}",
        "{model} runs on the CPU instead of a GPU, and is slow. {reason}",
    ),
    "log_engine_idle": Message(
        "エンジン {pid} はしばらく使われていないので終了させます: {label}",
        "engine {pid} has been idle for long enough: {label}",
    ),
    "log_engine_ended": Message("エンジン {pid} が終了しました: {label}", "engine {pid} has ended: {label}"),
    "log_engine_freed": Message("エンジン {pid}: {freed}", "engine {pid}: {freed}."),
    "log_engine_late": Message(
        "エンジン {pid} が時間内に終わらないので強制終了します", "engine {pid} did not end in time and is killed"
    ),
    "log_engine_died": Message(
        "エンジン {pid} が異常終了しました: {reason}（{label}、リクエスト: {requests}）{words}",
        "engine {pid} died: {reason} ({label}; requests: {requests}){words}",
    ),
    "log_last_words": Message("。最後の出力: {words}", "; last words: {words}"),
    "log_load_failed": Message(
        "エンジン {pid} は {label} を読み込めませんでした: {reason}", "engine {pid} could not load {label}: {reason}"
    ),
    "log_not_beside": Message(
        "{label} は {other} と同時にはメモリに収まらないため、{other} をアンロードします",
        "{label} does not fit beside {other}, which is unloaded",
    ),
    "log_vocabulary_only": Message("{model}（語彙のみ）", "{model} (vocabulary only)"),
    "log_engine_nonsense": Message(
        "エンジン {pid} から理解できないデータが届きました: {reason}", "engine {pid} sent nonsense: {reason}"
    ),
    "log_server_nonsense": Message("サーバーから理解できないデータが届きました", "the server sent nonsense"),
    "log_engine_socket": Message("エンジン {pid} との接続: {reason}", "the connection to engine {pid}: {reason}"),
    "log_owner_failed": Message(
        "エンジンの管理役がメッセージを処理できませんでした", "the engines' owner failed to handle a message"
    ),
    # How an engine has ended
    "engine_cannot_start": Message("起動できません（{words}）", "it cannot start ({words})"),
    "engine_exit_status": Message("終了ステータス {status}", "exit status {status}"),
    "engine_signal": Message("シグナル {signal}", "signal {signal}"),
    "engine_out_of_memory": Message("メモリ不足: {words}", "out of memory: {words}"),
    "engine_lost_worker": Message("RPCワーカーとの接続が切れた", "an RPC worker broke off"),
    "engine_gpu_error": Message(
        "GPUのエラー: {words}。続く場合は 'nvidia-smi' と 'sudo dmesg' でGPUの状態を確かめてください",
        "an error of the GPU: {words}; if it comes again, see what 'nvidia-smi' and 'sudo dmesg' say",
    ),
    "engine_no_gpu_code": Message(
        "この Hoshikage に、このGPU用のコードがありません: {words}。'make build' でビルドし直すか、"
        "古すぎるGPUなら CUDA_VISIBLE_DEVICES で外してください",
        "this Hoshikage has no code for this GPU: {words}; build it again with 'make build' or, where a GPU is too "
        "old, leave it out with CUDA_VISIBLE_DEVICES",
    ),
    "engine_does_not_end": Message("終了しない", "it does not end"),
    "engine_did_not_end": Message("終了の指示に応じない", "it did not end when it was told to"),
    "engine_went_on": Message("接続を閉じたのに動き続けた", "it closed its socket and went on"),
    "engine_stalled": Message("{seconds} 秒間反応なし", "no sign of life for {seconds} s"),
    "engine_no_answer": Message("{seconds} 秒以内に応答なし", "no answer within {seconds} s"),
    "engine_load_failed": Message("読み込みに失敗: {reason}", "{reason}"),
    "engine_ended_with": Message("推論エンジン: {reason}", "engine: {reason}"),
    # In the engine
    "log_loading_failed": Message("読み込みに失敗しました", "loading failed"),
    "log_step_failed": Message("計算の1ステップに失敗しました: {reason}", "a step failed: {reason}"),
    "log_request_failed": Message("リクエストの処理に失敗しました\n{way}", "a request failed\n{way}"),
    "log_trying_with": Message("{shortage}。{step} にして読み込み直します", "{shortage}; trying with {step}"),
    "log_cannot_guess": Message(
        "このモデルのメモリは途中まで戻せないため、続きの推測（speculation）は行いません",
        "this model's memory cannot be taken back, so nothing is guessed (speculation)",
    ),
    "memory_short": Message(
        "メモリが足りません（{needed} 必要、空き {free}）", "{needed} of memory are needed, {free} are free"
    ),
    "log_step_impossible": Message("{step} にはできません: {reason}", "{step} is not possible: {reason}"),
    "log_metadata_ignored": Message(
        "モデルのメタデータの {key} は使えないので無視します: {reason}",
        "{key} in the model's metadata is ignored: {reason}",
    ),
    # What the end of an engine gave back
    "freed_unknown": Message("何が残ったか調べられませんでした（{problem}）", "what stayed is not known: {problem}"),
    "freed_ram": Message("RAM {ram} を解放（うち専有 {own}）", "{ram} of RAM ({own} its own) given back"),
    "freed_vram": Message("VRAM {vram} を解放", "{vram} of VRAM given back"),
    "freed_devices": Message("GPUメモリの使用量が {size} 減少", "the GPUs' memory in use fell by {size}"),
    "freed_survivor": Message(
        "プロセス {pid}（{name}）が {size} を持ったまま残存", "process {pid} ({name}) stayed with {size}"
    ),
    "freed_vram_stayed": Message("VRAM {size} がプロセス {pids} に残存", "{size} of VRAM stayed with {pids}"),
    "freed_nothing_stayed": Message("残ったものはありません", "nothing stayed"),
    "no_threads": Message(
        "スレッドを作れません。プロセス数の上限 (ulimit -u) を確かめてください",
        "no thread can be started: see the limit of processes, ulimit -u",
    ),
    "unknown_amount": Message("（量は不明）", "an unknown amount"),
    # The server
    "gpus_did_not_fall": Message(
        "GPUの使用中のメモリが読み込み前まで減っていません（誰のものかは、ドライバーからは分かりません。"
        "nvidia-smi で確かめてください）",
        "the GPUs' memory in use did not fall again, and the driver does not tell whose it is: see nvidia-smi",
    ),
    "log_peaks_not_written": Message(
        "モデルのメモリ使用量を記録できません: {reason}", "what models take of memory cannot be noted: {reason}"
    ),
    "log_gpu_unknown": Message("GPUのメモリを調べられません: {reason}", "the GPU's memory is not known: {reason}"),
    "log_settings_kept": Message(
        "設定を読み直しましたが、使えないのでこれまでの設定のままにします: {reason}",
        "settings were read again and stay as they are: {reason}",
    ),
    "log_settings_read": Message(
        "設定を読み直しました。変更: {changed}。再起動後に有効になるもの: {later}",
        "settings were read again; changed: {changed}; after a restart: {later}",
    ),
    "log_few_descriptors": Message(
        "max_connections は {wanted} ですが、ファイル記述子は {allowed} 個までしか使えません。"
        "'ulimit -n' で上限を上げるか、HOSHIKAGE_MAX_CONNECTIONS を下げてください",
        "max_connections is {wanted}, descriptors {allowed}: raise their limit ('ulimit -n') or lower "
        "HOSHIKAGE_MAX_CONNECTIONS",
    ),
    "log_accepting_again": Message("再び接続を受け付けています", "connections are accepted again"),
    "log_accepting_none": Message(
        "いまは接続を受け付けられません: {reason}", "no connection can be accepted at present: {reason}"
    ),
    "log_may_go_on": Message(
        "処理中のリクエスト: {n}。あと {seconds} 秒、または Ctrl-C がもう一度押されるまで待ちます",
        "running requests: {n}; they may go on for {seconds} s, or until Ctrl-C is pressed again",
    ),
    "log_cut_off": Message("処理中のリクエスト: {n}。打ち切ります", "running requests: {n}; they are cut off"),
    "nothing": Message("なし", "nothing"),
    "none": Message("なし", "none"),
}
