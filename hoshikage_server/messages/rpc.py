"""What is said of models that are spread over machines: RPC workers, and the servers of whoever uses them."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

RPC: dict[str, Message] = {
    "cli_rpc_worker": Message(
        "ほかのマシンで動くモデルの計算を、このマシンで分担します。\n\n"
        "GPUがあればGPUを、なければCPUとメモリを提供します。使う側では HOSHIKAGE_RPC_SERVERS か、"
        "モデルの rpc_servers にこのワーカーを指定します。同時に使えるのは一つのモデルだけです。",
        "Let this machine compute parts of models that run on others.\n\n"
        "It offers its GPUs, or else its CPU and RAM. Whoever uses it names it in HOSHIKAGE_RPC_SERVERS, or in a "
        "model's rpc_servers. It serves one model at a time.",
    ),
    "cli_rpc_host": Message("待ち受けるIPv4アドレス（127.0.0.1）。", "IPv4 address to listen on (127.0.0.1)."),
    "cli_rpc_port": Message("待ち受けるポート（50052）。", "Port to listen on (50052)."),
    "cli_rpc_threads": Message("計算スレッドの数（HOSHIKAGE_THREADS）。", "Compute threads (HOSHIKAGE_THREADS)."),
    "cli_rpc_cache": Message(
        "受け取った重みを HOSHIKAGE_CACHE_DIR の rpc に残し、次からの送信を省きます（--no-cache）。",
        "Keep the weights that come in HOSHIKAGE_CACHE_DIR, below rpc, so that they are not sent again (--no-cache).",
    ),
    "cli_rpc_trust": Message(
        "認証がないことを承知のうえで、ほかのマシンからの接続を受け付けます。",
        "Let other machines connect, though nobody has to say who they are.",
    ),
    "rpc_exposed": Message(
        "{host} では待ち受けません。RPC には認証も暗号化もなく、ポートに届く人は誰でも、"
        "このプロセスのメモリを読み書きし、任意のコードを実行できます。"
        "127.0.0.1 のまま SSH トンネルか WireGuard を使ってください（docs/rpc.md）。"
        "つながる人すべてを信頼できるネットワークなら、--i-trust-this-network を付けると待ち受けます。",
        "It does not listen on {host}: RPC has no authentication and no encryption, and whoever reaches the port can "
        "read and write this process's memory and run code here. Stay on 127.0.0.1 and use an SSH tunnel or WireGuard "
        "(docs/rpc.md). On a network where you trust everybody, --i-trust-this-network makes it listen.",
    ),
    "rpc_no_ipv4": Message(
        "{host} はIPv4アドレスではありません。RPC で使えるのはIPv4だけです。127.0.0.1 のように指定してください。",
        "{host} is no IPv4 address, and RPC knows no other: name one such as 127.0.0.1.",
    ),
    "rpc_offers": Message(
        "{devices} を {address} で提供しています。使う側で HOSHIKAGE_RPC_SERVERS={usable} を設定してください"
        "（終了は Ctrl-C）。",
        "Offering {devices} at {address}: set HOSHIKAGE_RPC_SERVERS={usable} where models are served "
        "(Ctrl-C ends this).",
    ),
    "rpc_device": Message("{name}（{description}、{memory}）", "{name} ({description}, {memory})"),
    "rpc_free": Message("空き {free} / {total}", "{free} of {total} free"),
    "rpc_this_machine": Message("このマシンのアドレス", "ADDRESS-OF-THIS-MACHINE"),
    "rpc_no_cache": Message(
        "重みを残すフォルダ {folder} に書き込めません（{reason}）。HOSHIKAGE_CACHE_DIR に書き込める場所を指定するか、"
        "--cache を外してください。",
        "The folder for the weights, {folder}, cannot be written ({reason}). Set HOSHIKAGE_CACHE_DIR to a place that "
        "can be, or leave out --cache.",
    ),
    "rpc_gpu_required": Message(
        "GPUがないので起動しません（HOSHIKAGE_REQUIRE_GPU）。{reason}",
        "It does not start, because there is no GPU to offer (HOSHIKAGE_REQUIRE_GPU). {reason}",
    ),
    "rpc_worker_failed": Message(
        "RPCワーカーが終了しました（{reason}）。もう一度起動してください。",
        "The RPC worker has ended ({reason}). Please start it again.",
    ),
    "no_rpc_servers": Message(
        "192.168.1.20:50052 のような「ホスト名またはIPv4アドレス:ポート」を、カンマ区切りで 16 個まで指定してください",
        "expected up to 16 times host:port, a name or an IPv4 address such as 192.168.1.20:50052, with commas between",
    ),
    "rpc_server_malformed": Message(
        "'{param}' の {got} は「ホスト名またはIPv4アドレス:ポート（1 から 65535）」の形ではありません。"
        "192.168.1.20:50052 のように指定してください（IPv6 は使えません）。",
        "Invalid '{param}': {got} is not of the form host:port, with a name or an IPv4 address (IPv6 cannot be used) "
        "and a port from 1 to 65535, such as 192.168.1.20:50052.",
    ),
    "rpc_server_failed": Message(
        "モデル '{model}' の計算を分担するRPCサーバー {server} を使えません: {reason}",
        "The RPC server {server}, which computes a part of the model '{model}', cannot be used: {reason}",
    ),
    "hint_workers": Message(
        "計算を分担する {servers} が動いているかを、'hoshikage doctor' で確かめてください。",
        "See with 'hoshikage doctor' whether {servers}, which compute a part of it, are well.",
    ),
    # Why
    "reason_rpc_unknown_host": Message(
        "この名前のIPv4アドレスが分かりません。名前を確かめてください",
        "no IPv4 address of that name is known: check the name",
    ),
    "reason_rpc_refused": Message(
        "何も待ち受けていません。そのマシンで 'hoshikage rpc-worker --port {port}' を起動してください",
        "nothing listens there: start 'hoshikage rpc-worker --port {port}' on that machine",
    ),
    "reason_rpc_unreached": Message(
        "接続できません。アドレスと、ファイアウォールがポート {port} を通すかを確かめてください",
        "no connection came about: check the address, and whether a firewall lets port {port} through",
    ),
    "reason_rpc_silent": Message(
        "{seconds} 秒たっても応答がありません。ワーカーが同時に使えるのは 1 つのモデルだけなので、"
        "ほかで使われているかもしれません。止まっている場合は、起動し直してください",
        "it does not answer within {seconds} s: a worker serves one model at a time, and this one may be in use; or it "
        "hangs, and has to be started again",
    ),
    "reason_rpc_version": Message(
        "プロトコルの版が違います（相手は {theirs}、こちらは {ours}）。"
        "両方のマシンで同じ版の Hoshikage を使ってください",
        "it speaks version {theirs} of llama.cpp's protocol, and this one {ours}: use the same version on both",
    ),
    "reason_rpc_foreign": Message(
        "RPCワーカーではないか、版が違うか、トンネルの先にワーカーがいません。"
        "そのマシンで同じ版の 'hoshikage rpc-worker' を起動してください",
        "what answers there is no RPC worker, or one of another version, or a tunnel with no worker at its end: start "
        "'hoshikage rpc-worker', of the same version, on that machine",
    ),
    "reason_rpc_twice": Message(
        "{other} と同じサーバーです。片方だけを指定してください", "it is the same as {other}: name it once"
    ),
    "reason_rpc_takes_layers": Message(
        "分担できるのは層ごとだけです。split_mode を layer にする（main_gpu は外す）か、"
        "rpc_servers を [] にしてください",
        'can take whole layers only: split_mode must be "layer" (and main_gpu missing), or rpc_servers []',
    ),
    "reason_rpc_without_layers": Message(
        "gpu_layers が 0 なので使われません。どちらかを外してください",
        "compute nothing with gpu_layers 0: take one of the two away",
    ),
    "reason_no_host_and_port": Message(
        "「ホスト名またはIPv4アドレス:ポート」の形にしてください（{got} でした）",
        'must be "host:port", with a name or an IPv4 address, not {got}',
    ),
    "reason_too_many_servers": Message(
        "サーバーが {n_servers} 個ありますが、使えるのは {n_max} 個までです",
        "has {n_servers} servers, but a model can be spread over {n_max} devices",
    ),
    # The status, and the doctor
    "status_rpc_layers": Message("RPC {servers}（{n}/{of} 層）", "RPC {servers} ({n} of {of} layers)"),
    "doctor_rpc": Message("{server} を使えます。", "{server} can be used."),
    "doctor_rpc_unusable": Message("{server} を使えません: {reason}", "{server} cannot be used: {reason}"),
}
