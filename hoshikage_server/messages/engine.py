"""What is said of the lane, the engine, and models that are loaded or not."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

ENGINE: dict[str, Message] = {
    "queue_full": Message(
        "順番待ちがいっぱいです（{waiting} 件）。しばらくしてからお試しください。",
        "The queue is full ({waiting} requests are waiting). Please try again later.",
    ),
    "queue_timeout": Message(
        "順番待ちが {seconds} 秒を超えました。しばらくしてからお試しください。",
        "The request waited for more than {seconds} seconds. Please try again later.",
    ),
    "context_full": Message(
        "同時に動いているほかの回答でコンテキストがいっぱいになり、プロンプトを最後まで計算できませんでした。"
        "しばらくしてからお試しいただくか、モデルのコンテキストを大きくしてください (HOSHIKAGE_N_CTX)。",
        "Answers that run at the same time have filled the context: the prompt could not be computed to its end. "
        "Please try again later, or give the model a larger context (HOSHIKAGE_N_CTX).",
    ),
    "load_timeout": Message(
        "モデル '{model}' の読み込みが {seconds} 秒以内に終わりませんでした。{hint}",
        "The model '{model}' did not finish loading within {seconds} seconds. {hint}",
    ),
    "hint_slow_load": Message(
        "ディスクが遅い場合は、HOSHIKAGE_LOAD_TIMEOUT を長くしてください。",
        "Where the disk is slow, a longer HOSHIKAGE_LOAD_TIMEOUT helps.",
    ),
    "model_load_failed": Message(
        "モデル '{model}' を読み込めませんでした: {reason}",
        "The model '{model}' could not be loaded: {reason}",
    ),
    "insufficient_memory": Message(
        "モデル '{model}' を読み込むにはメモリが足りません。"
        "{needed_bytes} 必要ですが、空きは {free_bytes} です（{device}）。"
        "量子化の小さいファイルを使う、HOSHIKAGE_N_CTX（またはモデルの n_ctx）を小さくする、"
        "HOSHIKAGE_DEGRADE=1 で省メモリの読み込みを許す、ほかのプログラムを終了する、のいずれかをお試しください。",
        "There is not enough memory for the model '{model}': it needs {needed_bytes}, and {free_bytes} are free "
        "({device}). Use a smaller quantisation, lower HOSHIKAGE_N_CTX (or the model's own n_ctx), let it load in less "
        "memory with HOSHIKAGE_DEGRADE=1, or end other programs.",
    ),
    "out_of_memory": Message(
        "モデルの計算に使うメモリ（GPU または RAM）が足りなくなりました（{reason}）。"
        "モデルの n_ctx か parallel を小さくする、kv_type を q8_0 にする、gpu_layers を減らす、"
        "HOSHIKAGE_DEGRADE=1 で省メモリでの続行を許す、ほかのプログラムを終了する、のいずれかをお試しください。",
        "The model ran out of memory, on the GPU or in RAM ({reason}). Lower its n_ctx or parallel, set its kv_type to "
        "q8_0, give it fewer gpu_layers, let it go on in less memory with HOSHIKAGE_DEGRADE=1, or end other programs.",
    ),
    "device_host": Message("メインメモリ", "RAM"),
    "gpu_required": Message(
        "モデル '{model}' をGPUで動かせないため、読み込みませんでした（HOSHIKAGE_REQUIRE_GPU）。{reason}",
        "The model '{model}' was not loaded, because no GPU would compute it (HOSHIKAGE_REQUIRE_GPU). {reason}",
    ),
    # Why no GPU computes
    "no_gpu_build": Message(
        "GPUはありますが、この Hoshikage は CUDA なしでビルドされています。"
        "'HOSHIKAGE_BACKEND=cuda make build' でビルドし直してください。",
        "There is a GPU, but this Hoshikage was built without CUDA. Build it again with 'HOSHIKAGE_BACKEND=cuda make "
        "build'.",
    ),
    "no_gpu_machine": Message(
        "この Hoshikage は CUDA なしでビルドされていて、NVIDIAのGPUも見つかりません。GPUがあるなら、"
        "ドライバーを入れてから 'HOSHIKAGE_BACKEND=cuda make build' でビルドし直してください。"
        "CPUで動かすなら gpu_layers を 0 にしてください。",
        "This Hoshikage was built without CUDA, and no NVIDIA GPU is found. If there is one, install its driver and "
        "build again with 'HOSHIKAGE_BACKEND=cuda make build'; to compute on the CPU, set gpu_layers to 0.",
    ),
    "no_gpu_container": Message(
        "このコンテナからはGPUが見えません。'--gpus all' を付けて起動してください"
        "（ホストには NVIDIA Container Toolkit が必要です）。",
        "This container sees no GPU. Start it with '--gpus all' (the host needs the NVIDIA Container Toolkit).",
    ),
    "no_gpu_driver": Message(
        "NVIDIAのドライバー（libcuda.so.1）がありません。ドライバー（Debian なら libcuda1、Fedora なら "
        "xorg-x11-drv-nvidia-cuda も）を入れるか、CPUで動かすなら gpu_layers を 0 にしてください。",
        "There is no NVIDIA driver (libcuda.so.1). Install it (on Debian libcuda1 as well, on Fedora "
        "xorg-x11-drv-nvidia-cuda) or, to compute on the CPU, set gpu_layers to 0.",
    ),
    "no_gpu_hidden": Message(
        "CUDA_VISIBLE_DEVICES がすべてのGPUを隠しています。この変数を消すか、あるGPUの番号（0 から）にしてください。",
        "CUDA_VISIBLE_DEVICES hides all GPUs. Unset it, or set it to the number of one that there is, from 0.",
    ),
    "no_gpu_old_driver": Message(
        "NVIDIAのドライバーが古すぎて、この Hoshikage（CUDA {cuda}）では使えません。ドライバーを更新するか、"
        "'HOSHIKAGE_BACKEND=cuda make build' でこのドライバーに合わせてビルドし直してください。",
        "The NVIDIA driver is too old for this Hoshikage, which was built with CUDA {cuda}. Update the driver, or "
        "build for it with 'HOSHIKAGE_BACKEND=cuda make build'.",
    ),
    "no_gpu_device": Message(
        "NVIDIAのドライバーはありますが、使えるGPUがありません（{problem}）。'nvidia-smi' でGPUが見えるかを確かめて"
        "ください。ドライバーを更新した直後なら再起動が、MIG を使うならインスタンスが必要です。",
        "There is an NVIDIA driver, but no GPU that can be used ({problem}). See with 'nvidia-smi' whether it finds "
        "one. A driver that was just updated needs a restart of the machine, and MIG needs instances.",
    ),
    "no_gpu_memory": Message(
        "GPUメモリに空きがなく、1層も置けません（空き {free} / {total}、使用中: {users}）。"
        "GPUを使っているほかのプログラムを終了するか、n_ctx を小さくしてください。",
        "The GPU's memory has no room for even one layer ({free} of {total} free; in use by: {users}). End other "
        "programs that use the GPU, or lower n_ctx.",
    ),
    "no_gpu_users_unknown": Message("不明", "unknown"),
    "model_in_use": Message(
        "モデル '{model}' は使用中です。応答が終わってから、もう一度お試しください。",
        "The model '{model}' is in use: try again when its answers have ended.",
    ),
    "model_failed": Message(
        "モデル '{model}' の推論エンジンが短い間に何度も異常終了したため、しばらく使えません。{hint}"
        "すぐに試すには 'hoshikage load {model}' を実行してください。",
        "The engine of the model '{model}' died several times in a short time, so it is left alone for a while. "
        "{hint} 'hoshikage load {model}' tries again at once.",
    ),
    "hint_deaths": Message("理由はログに残っています。", "The log tells why."),
    "unload_timeout": Message(
        "モデル '{model}' のアンロードが {seconds} 秒以内に終わりませんでした。",
        "The model '{model}' did not end within {seconds} seconds.",
    ),
    "engine_crashed": Message(
        "推論エンジンが途中で終了しました（{reason}）。もう一度お試しください。",
        "The engine process died while working on this request ({reason}). Please try again.",
    ),
    "reader_too_slow": Message(
        "応答の受信が遅すぎるため、生成を中止しました。",
        "The answer was read too slowly and has been cancelled.",
    ),
    "shutting_down": Message(
        "サーバーは終了するところです。",
        "The server is shutting down.",
    ),
    "internal_error": Message(
        "サーバー内部でエラーが起きました（リクエストID: {request_id}）。",
        "The server had an error while processing your request (request id: {request_id}).",
    ),
}
