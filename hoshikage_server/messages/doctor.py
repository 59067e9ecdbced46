"""What `hoshikage doctor` finds."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

DOCTOR: dict[str, Message] = {
    "cli_doctor": Message(
        "動作に必要なものを調べ、問題があれば直し方を表示します。\n\nエラーがあれば終了ステータスは 1 です。",
        "Look at all that Hoshikage needs, and say how to mend it.\n\nThe exit status is 1 where there is an error.",
    ),
    "doctor_ok": Message("問題なし", "OK"),
    "doctor_warning": Message("注意", "warning"),
    "doctor_error": Message("エラー", "error"),
    "doctor_all_well": Message("問題は見つかりませんでした。", "All is well."),
    "doctor_counted": Message(
        "エラー {n_errors} 件、注意 {n_warnings} 件", "Errors: {n_errors}, warnings: {n_warnings}"
    ),
    "doctor_too_slow": Message(
        "{seconds} 秒以内に調べ終わりませんでした。", "This could not be looked at within {seconds} s."
    ),
    "doctor_check_failed": Message("調べられませんでした: {reason}", "This could not be looked at: {reason}"),
    "check_python": Message("Python本体", "Python"),
    "check_compiler": Message("コンパイラ", "Compiler"),
    "check_backend": Message("計算エンジン", "Backend"),
    "check_gpu": Message("GPU（NVIDIA）", "NVIDIA GPU"),
    "check_memory": Message("メモリ", "Memory"),
    "check_disk": Message("ディスク", "Disk"),
    "check_settings": Message("設定", "Settings"),
    "check_folders": Message("フォルダ", "Folders"),
    "check_port": Message("ポート", "Port"),
    "check_models": Message("モデル", "Models"),
    "check_personas": Message("ペルソナ", "Personas"),
    "check_rpc": Message("RPCワーカー", "RPC workers"),
    # The machine
    "doctor_python": Message("Python {version}（{packages}）", "Python {version} ({packages})"),
    "doctor_old_python": Message(
        "Python {version} は古すぎます。3.10 以上が必要です。", "Python {version} is too old: 3.10 or newer is needed."
    ),
    "doctor_no_package": Message("パッケージ {name} が入っていません。", "The package {name} is not installed."),
    "doctor_compiler": Message("{version}（ビルド用）", "{version} (to build with)"),
    "doctor_no_compiler": Message(
        "C++コンパイラがありません。ビルドするときにだけ必要です。",
        "There is no C++ compiler. Only who builds needs one.",
    ),
    "doctor_bad_compiler": Message("{path} を実行できません: {reason}", "{path} cannot be run: {reason}"),
    "doctor_backend": Message(
        "{backends}（{features}、llama.cpp {commit}）", "{backends} ({features}; llama.cpp {commit})"
    ),
    "doctor_backend_crashed": Message(
        "計算エンジンが起動中に異常終了しました（{reason}）。別のマシン向けにビルドされているかもしれません。"
        "ビルドし直してください。",
        "The backend crashed when it was loaded ({reason}). It may have been built for another machine: build it "
        "again.",
    ),
    "doctor_backend_failed": Message(
        "計算エンジンを読み込めません: {reason}", "The backend cannot be loaded: {reason}"
    ),
    "doctor_no_cuda_library": Message(
        "CUDAのライブラリ {name} が見つかりません。もう一度ビルドすると用意されます（HOSHIKAGE_BACKEND=cpu を付けると"
        "CPU用になります）。",
        "The CUDA library {name} is missing: building again gets it (with HOSHIKAGE_BACKEND=cpu it is for the CPU).",
    ),
    "doctor_cuda": Message(
        "CUDA {version} でビルドされています（対象: {archs}）", "built with CUDA {version}, for {archs}"
    ),
    "doctor_cuda_unused": Message(
        "CUDA用のビルドですが、使えるGPUがありません（{reason}）。CPUで計算します。",
        "This build can use CUDA, but there is no GPU that it can use ({reason}): the CPU computes.",
    ),
    "doctor_no_gpu": Message("NVIDIAのGPUはありません。CPUで計算します。", "There is no NVIDIA GPU: the CPU computes."),
    "doctor_driver": Message("ドライバ {driver}、CUDA {cuda} まで", "driver {driver}, CUDA up to {cuda}"),
    "doctor_gpu": Message("{name}、空き {free} / {total}", "{name}, {free} of {total} free"),
    "doctor_gpu_memory_unknown": Message("{name}（メモリ量は不明）", "{name}, of unknown memory"),
    "doctor_no_nvml": Message(
        "NVIDIAのドライバーの libnvidia-ml.so.1 がないので、GPUのメモリや消費電力が分かりません（計算はできます）。"
        "Debian なら libnvidia-ml1 を入れ、コンテナなら NVIDIA_DRIVER_CAPABILITIES=compute,utility を"
        "指定してください。",
        "The NVIDIA driver's libnvidia-ml.so.1 is missing, so the GPU's memory and power are not known (computing "
        "works without it). Install libnvidia-ml1 (Debian); a container needs "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
    ),
    "doctor_gpu_failed": Message("GPUのドライバが応答しません: {reason}", "The GPU's driver does not answer: {reason}"),
    "doctor_gpu_unused": Message(
        "GPUがありますが、CPU用のビルドなので使われません。", "There is a GPU, but this build is for the CPU only."
    ),
    "doctor_ram": Message("空き {free} / {total}", "{free} of {total} free"),
    "doctor_little_ram": Message(
        "空きが {free} しかありません（全体 {total}）。小さいモデルを使うか、ほかのプログラムを終了してください。",
        "Only {free} of {total} are free: use small models, or end other programs.",
    ),
    "doctor_disk": Message("{path} の空き {free}", "{free} free in {path}"),
    "doctor_little_disk": Message(
        "{path} の空きが {free} しかありません。大きなフォルダは次のコマンドで調べられます。",
        "Only {free} are free in {path}. This shows what is large:",
    ),
    # Where it lives
    "doctor_settings": Message("すべて使えます。", "All can be used."),
    "doctor_folders": Message("書き込めます（{path} ほか）。", "They can be written ({path} and others)."),
    "doctor_no_folder": Message("{path} はフォルダではありません。", "{path} is no folder."),
    "doctor_not_writable": Message(
        "{path} に書き込めません（{place} の権限）。", "{path} cannot be written, as {place} does not permit it."
    ),
    "doctor_read_only": Message(
        "{path} に書き込めません。{mount} が読み取り専用でマウントされています。"
        "書き込めるようにマウントし直すか、{setting} に別の場所を指定してください。",
        "{path} cannot be written, as {mount} is mounted read-only: mount it for writing, or name another place with "
        "{setting}.",
    ),
    "doctor_keys_readable": Message(
        "APIキーの書かれた {path} を、ほかのユーザーも読めます。", "Others can read {path}, which holds API keys."
    ),
    "doctor_port_any": Message("起動時にシステムが選びます。", "The system chooses one."),
    "doctor_port_ours": Message("{url} で Hoshikage {version} が動いています。", "Hoshikage {version} runs at {url}."),
    "doctor_port_free": Message("{url} は空いています。", "{url} is free."),
    "doctor_port_other": Message(
        "{url} は別のプログラムが使っています。別のポートで起動してください。",
        "Another program uses {url}: serve on another port.",
    ),
    "doctor_port_refused": Message(
        "{url} のサーバーが応答を断りました（{reason}）。", "The server at {url} does not answer us ({reason})."
    ),
    # What people have written
    "doctor_models": Message("{n} 個のモデルが登録されています（{path}）。", "Models: {n} ({path})."),
    "doctor_model_gone": Message(
        "モデル '{model}' のファイル {path} がありません。ファイルを戻すか、登録を外してください。",
        "The file {path} of the model '{model}' is missing: bring it back, or take the model off the list.",
    ),
    "doctor_same_file": Message(
        "同じファイル {path} が複数の名前で登録されています: {models}", "One file, {path}, has several names: {models}"
    ),
    "doctor_key_unused": Message(
        "モデル '{model}' の '{key}' は、この版ではまだ使われません。",
        "'{key}' of the model '{model}' is not used by this version.",
    ),
    "doctor_key_unknown": Message(
        "モデル '{model}' の '{key}' というキーはないので、無視されます。",
        "'{key}' of the model '{model}' is no known key and is ignored.",
    ),
    "doctor_twice": Message(
        "'{name}' が {path} に2回以上書かれています。最後のものだけが有効です。",
        "'{name}' stands in {path} more than once; only the last one counts.",
    ),
    "doctor_personas": Message("{n} 個のペルソナが使えます。", "Personas: {n}."),
}
