"""What each setting means, in one line: `setting_NAME`; and what `hoshikage config` says besides."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

SETTINGS: dict[str, Message] = {
    # TOML, also of personas
    "toml_at": Message(
        "{line} 行目の {column} 文字目の書き方が正しくありません（TOML: {words}）",
        "line {line}, column {column} is not as it has to be (TOML: {words})",
    ),
    "toml_at_end": Message(
        "最後の {line} 行目までのどこかで、書き方が正しくありません（TOML: {words}）",
        "something up to line {line}, the last one, is not as it has to be (TOML: {words})",
    ),
    "toml_bad_value": Message("使えない値があります（TOML: {words}）", "a value in it cannot be used (TOML: {words})"),
    "toml_not_utf8": Message(
        "文字コードがUTF-8ではありません。UTF-8で保存し直してください",
        "its text is not UTF-8: save it as UTF-8",
    ),
    "home_unknown": Message(
        "'~' が指すホームフォルダが分かりません。'/' で始まるパスにしてください",
        "the home folder that '~' stands for is not known: use a path that begins with '/'",
    ),
    "cli_config": Message(
        "すべての設定について、いまの値、どこで決まったか、意味を表示します。\n\nキーの値は表示しません。",
        "Show every setting: its value, where that comes from, and what it means.\n\nKeys are not shown.",
    ),
    "origin_default": Message("既定値", "default"),
    "config_setting": Message("設定", "Setting"),
    "config_value": Message("値", "Value"),
    "config_origin": Message("決まった場所", "From"),
    "config_meaning": Message("意味", "Meaning"),
    "must_be_integer": Message("{range}整数にしてください", "it must be a whole number{range}"),
    "must_be_integer_or_word": Message(
        "{range}整数か、次のどれかにしてください: {words}", "it must be a whole number{range}, or one of {words}"
    ),
    "must_be_number": Message("{range}数値にしてください", "it must be a number{range}"),
    "must_be_word": Message("次のどれかにしてください: {words}", "it must be one of {words}"),
    "must_be_switch": Message("0か1にしてください", "it must be 0 or 1"),
    "must_be_text": Message("文字列にしてください", "it must be a text"),
    "must_be_texts": Message("文字列の一覧にしてください", "it must be a list of texts"),
    "must_be_numbers": Message("{range}数値の一覧にしてください", "it must be a list of numbers{range}"),
    "range_within": Message("{low} 以上 {high} 以下の", " from {low} to {high}"),
    "range_from": Message("{low} 以上の", " of at least {low}"),
    "range_above": Message("{low} より大きく {high} 以下の", " above {low} and up to {high}"),
    "setting_host": Message("待ち受けるアドレス", "address to listen on, or unix:/PATH"),
    "setting_port": Message("待ち受けるポート", "port to listen on"),
    "setting_config_dir": Message(
        "model_map.json と hoshikage.toml のあるフォルダ", "where model_map.json and hoshikage.toml are"
    ),
    "setting_cache_dir": Message("ダウンロードとデモモデルの置き場所", "where downloads and the demo model go"),
    "setting_model_map": Message("モデル一覧のファイル", "the list of models"),
    "setting_lang": Message(
        "メッセージの言語（クライアントの指定が優先）", "language of messages unless a client asks for another"
    ),
    "setting_log_level": Message("ログに残す重要度", "from which level on is logged"),
    "setting_api_keys": Message(
        "受け付けるAPIキー。ほかのマシンからの接続を受け付けるには必須",
        "accepted keys; needed to listen on more than this machine",
    ),
    "setting_cors_origins": Message(
        "APIを使ってよい、ほかのWebページ。'*' はすべて", "web pages elsewhere that may use the API; '*': all"
    ),
    "setting_n_ctx": Message(
        "コンテキストのトークン数（同時に処理するリクエストで分け合う）",
        "tokens of context, shared by what is computed at once",
    ),
    "setting_parallel": Message("同時に処理するリクエスト数", "requests computed at once"),
    "setting_threads": Message(
        "計算スレッド数（指定がなければ物理コア数）", "compute threads; the physical cores when not set"
    ),
    "setting_gpu_layers": Message(
        "GPUメモリに置く層の数。auto は入るだけ、all は全部", "layers in GPU memory; auto: what fits, all: all"
    ),
    "setting_rpc_servers": Message(
        "計算を分担するRPCワーカーの ホスト:ポート（カンマ区切り）。モデルごとの rpc_servers が優先",
        "RPC workers that compute parts of models: host:port, with commas between; a model's own win",
    ),
    "setting_tensor_split": Message(
        "GPUごとの分け前の比（例 3,1）。指定がなければ空きメモリに応じて分ける",
        "each GPU's share of a model, such as 3,1; by their free memory when not set",
    ),
    "setting_main_gpu": Message("モデルを置く1つのGPUの番号（0 から）", "the one GPU that models go to, from 0"),
    "setting_split_mode": Message(
        "複数のGPUへの分け方。layer は層ごと、tensor は各層を分けて同時に計算、none は main_gpu だけ",
        "how several GPUs share a model: layer by layer, tensor: a part of each layer, none: main_gpu alone",
    ),
    "setting_require_gpu": Message(
        "GPUで動かせないモデルは、CPUで動かす代わりに読み込みを断る",
        "refuse to load a model where no GPU would compute it, instead of using the CPU",
    ),
    "setting_flash_attention": Message(
        "Flash Attention を使うか（指定がなければ使えるときに使う）",
        "whether to use flash attention; where it can be had when not set",
    ),
    "setting_kv_type": Message(
        "KVキャッシュの数値の型。q8_0 や q4_0 はメモリが少なくて済む",
        "type of the KV cache's numbers; q8_0 and q4_0 take less memory",
    ),
    "setting_idle_timeout": Message(
        "この秒数使われないモデルはアンロードする。0 は無期限",
        "after this many seconds without a request a model is unloaded; 0: never",
    ),
    "setting_max_loaded_models": Message("同時にメモリに置くモデル数", "models in memory at once"),
    "setting_degrade": Message(
        "メモリが足りないとき、小さいバッチ、KVキャッシュの量子化、少ないGPU層で読み込む",
        "when memory is short, load with a smaller batch, a quantised KV cache or fewer GPU layers",
    ),
    "setting_memory_check": Message(
        "空きメモリに収まらないモデルは、読み込む前に断る",
        "refuse a model that does not fit in free memory, before it is loaded",
    ),
    "setting_max_queue": Message("順番を待てるリクエスト数", "requests that may wait for their turn"),
    "setting_queue_timeout": Message("順番を待てる秒数", "how many seconds one may wait for its turn"),
    "setting_overtake_limit": Message(
        "読み込み済みのモデルへのリクエストを優先してよい秒数",
        "for how many seconds requests for the loaded model go first",
    ),
    "setting_ping_interval": Message(
        "この秒数なにも送らなければ、ストリームにコメントを送る",
        "seconds of silence after which a stream is sent a comment",
    ),
    "setting_load_timeout": Message("モデルの読み込みにかけてよい秒数", "how many seconds a model may take to load"),
    "setting_load_backoff": Message(
        "読み込みに失敗したモデルを休ませる秒数（失敗のたびに倍になる）",
        "for how many seconds a model is left alone after a failed load; twice as long after the next",
    ),
    "setting_load_backoff_max": Message("その上限の秒数", "and the most seconds that it is left alone"),
    "setting_stall_timeout": Message(
        "この秒数反応のないエンジンは止まったとみなす", "seconds of silence after which an engine is taken for dead"
    ),
    "setting_crash_limit": Message(
        "crash_window のあいだにこの回数異常終了したモデルは休ませる",
        "crashes of a model's engine within crash_window after which it is left alone",
    ),
    "setting_crash_window": Message("異常終了を数える秒数", "the seconds in which crashes are counted"),
    "setting_crash_cooling": Message("異常終了が続いたモデルを休ませる秒数", "for how many seconds it is left alone"),
    "setting_stop_timeout": Message(
        "エンジンの終了を待つ秒数。過ぎたら強制終了", "how many seconds an engine may take to end before it is killed"
    ),
    "setting_grace": Message(
        "SIGTERM の後、処理中のリクエストを待つ秒数", "for how many seconds running requests may go on after SIGTERM"
    ),
    "setting_read_timeout": Message(
        "クライアントがリクエストを送り終えるまでの秒数", "how many seconds a client may take to send its request"
    ),
    "setting_write_timeout": Message(
        "クライアントが応答を受け取らなくてもよい秒数", "for how many seconds a client may read nothing of its answer"
    ),
    "setting_max_body": Message("リクエスト本文の最大バイト数", "bytes of a request"),
    "setting_max_unsent": Message(
        "受信の遅いクライアントのために溜めておく応答の断片数",
        "pieces of an answer kept for a client that reads slowly",
    ),
    "setting_max_connections": Message("同時接続数", "connections at once"),
    "setting_responses_max": Message("メモリに保存する応答の数。0 は保存しない", "responses kept in memory; 0: none"),
    "setting_cache_ram": Message(
        "ほかの会話の計算結果（KVキャッシュ）を取っておくメインメモリのバイト数。0 なら取っておかない",
        "bytes of RAM for what was computed of other conversations (their KV cache); 0: none",
    ),
    "setting_speculation": Message(
        "続きの推測による高速化。ngram は、同じ語のあとに以前続いた語を推測に使う。モデルごとの speculation が優先",
        "guess what comes next, to be faster: ngram, by what stood after the same words before; a model's own wins",
    ),
    "setting_sleep_cache": Message(
        "アンロードしたモデルの計算結果を、サーバーの終了までディスクに取っておくバイト数。0 なら取っておかない",
        "bytes of disk for what unloaded models had computed, as long as the server runs; 0: none",
    ),
    "setting_responses_max_bytes": Message("その合計のバイト数", "bytes of all of them"),
}
