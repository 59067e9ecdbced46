"""What the commands say that ask a model: run, chat, bench; and the completion of shells."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

ASKING: dict[str, Message] = {
    # Helps
    "cli_run": Message(
        "質問 PROMPT に一度だけ答えます。パイプで渡した文章も読みます。\n\n"
        "サーバーが動いていればサーバーが、動いていなければこのコマンド自身が答えます。"
        "標準出力に出るのは答えだけです。\n\n"
        '例: cat memo.txt | hoshikage run "三行に要約して"',
        "Answer one PROMPT; text that is piped in is read as well.\n\n"
        "A running server answers, or this command itself where there is none. Standard output holds the answer and "
        "nothing else.\n\n"
        'Example: cat notes.txt | hoshikage run "Summarise in three lines"',
    ),
    "cli_chat": Message(
        "モデルと会話します。/help で会話中のコマンドが見られます。\n\n"
        "サーバーが動いていればサーバーが、動いていなければこのコマンド自身が答えます。"
        "会話も入力の履歴も、終えると残りません（--history で履歴だけ残せます）。",
        "Talk with a model; /help shows what else can be typed.\n\n"
        "A running server answers, or this command itself where there is none. Nothing is kept when it ends, neither "
        "the conversation nor what was typed (--history keeps the latter).",
    ),
    "cli_chat_history": Message(
        "入力の履歴をキャッシュフォルダの chat_history に残します。",
        "Keep what is typed, in chat_history in the cache folder.",
    ),
    "cli_completion": Message(
        "シェル補完のスクリプトを表示します。\n\n"
        'bash: eval "$(hoshikage completion bash)" を ~/.bashrc に\n\n'
        'zsh: eval "$(hoshikage completion zsh)" を ~/.zshrc に\n\n'
        "fish: hoshikage completion fish > ~/.config/fish/completions/hoshikage.fish",
        "Print the script that lets a shell complete commands and names.\n\n"
        'bash: eval "$(hoshikage completion bash)" in ~/.bashrc\n\n'
        'zsh: eval "$(hoshikage completion zsh)" in ~/.zshrc\n\n'
        "fish: hoshikage completion fish > ~/.config/fish/completions/hoshikage.fish",
    ),
    "cli_model": Message(
        "モデルの名前、またはGGUFファイル（指定しなければ一覧の最初のモデル）。",
        "A model's name, or a GGUF file (default: the first model of the list).",
    ),
    "cli_persona": Message("ペルソナの名前。", "A persona's name."),
    "cli_system": Message("システムプロンプト。", "System prompt."),
    "cli_max_tokens": Message(
        "答えのトークン数の上限（指定しなければコンテキストの残りまで）。",
        "Tokens of an answer at most (default: as many as the context holds).",
    ),
    "cli_temperature": Message(
        "ばらつきの大きさ（0から2、0なら毎回同じ）。", "How much is left to chance, 0 to 2; 0: nothing."
    ),
    "cli_top_p": Message(
        "確率の合計がこの値になるまでの候補から選びます。", "Choose among tokens of this total probability."
    ),
    "cli_top_k": Message("上位の何個の候補から選ぶか。", "Choose among so many of the likeliest tokens."),
    "cli_min_p": Message(
        "最有力の候補に対し、この割合より確率の低い候補を外します。",
        "Leave out tokens less likely than this share of the likeliest.",
    ),
    "cli_seed": Message(
        "乱数のシード。同じ値なら同じ答えになります。", "Seed of chance: the same one, the same answer."
    ),
    "cli_thinking": Message(
        "推論モデルに考えさせるか（指定しなければモデルに任せます）。",
        "Whether a reasoning model reasons (default: as the model likes it).",
    ),
    "cli_local": Message("サーバーを使わず、このコマンドで計算します。", "Ask no server: compute here."),
    "cli_run_json": Message(
        "答え、トークン数、所要時間を一つのJSONで表示します。",
        "Print answer, token counts and times as one JSON object.",
    ),
    "cli_run_stats": Message(
        "端末でなくても、速度を標準エラー出力に表示します。",
        "Tell the speed on standard error also where that is no terminal.",
    ),
    # Errors
    "nobody_to_ask": Message(
        "使えるモデルがありません。'hoshikage add ファイル.gguf 名前' で登録するか、"
        "'hoshikage model demo' で小さなデモモデルを入手してください。",
        "There is no model to ask: register one with 'hoshikage add FILE.gguf NAME', or get the small demo model with "
        "'hoshikage model demo'.",
    ),
    "nothing_asked": Message(
        '質問がありません。hoshikage run "質問" のように書くか、パイプで文章を渡してください。',
        'There is no question: write hoshikage run "QUESTION", or pipe a text in.',
    ),
    "options_exclude": Message(
        "{one} と {other} は同時に指定できません。",
        "{one} and {other} exclude each other.",
    ),
    "text_not_utf8": Message(
        "入力がUTF-8の文章ではありません。iconv などでUTF-8に変換してください。",
        "The input is no UTF-8 text: convert it, with iconv for example.",
    ),
    "input_too_large": Message(
        "パイプで渡せるのは {limit} バイトまでです（HOSHIKAGE_MAX_BODY）。",
        "More than {limit} bytes were piped in (HOSHIKAGE_MAX_BODY).",
    ),
    "answer_broke_off": Message(
        "{url} からの応答が途中で切れました。サーバーが終了した可能性があります。"
        "'hoshikage status' で様子を確かめて、もう一度お試しください。",
        "The answer of {url} broke off; the server may have ended. Look with 'hoshikage status', and try again.",
    ),
    "answer_failed": Message(
        "モデル '{model}' は答えの途中で失敗しました。もう一度お試しください。続くときは 'hoshikage doctor' で"
        "原因を調べられます（{reason}）。",
        "The model '{model}' failed while it answered: try again, and if that goes on, see what 'hoshikage doctor' "
        "finds ({reason}).",
    ),
    "answer_at_limit": Message(
        "（上限の {n} トークンに達したため、答えは途中で終わりました）",
        "(the answer reached its limit of {n} tokens and ends in the middle)",
    ),
    "answer_context_full": Message(
        "（コンテキストがいっぱいになり、答えは途中で終わりました）",
        "(the context is full, and the answer ends in the middle)",
    ),
    # The bench
    "cli_bench": Message(
        "モデル MODEL の速さを、このマシンで測ります。\n\n"
        "プロンプトの処理（prefill）と、それに続く生成（decode）の速さを何度か測り、"
        "中央値と、最小・最大を示します。サーバーは使いません。",
        "Measure how fast MODEL is on this machine.\n\n"
        "Prefill of a prompt and decode after it, several times: the median, and the least and the most. No server "
        "takes part.",
    ),
    "cli_bench_prompt": Message("プロンプトのトークン数（512）。", "Tokens of the prompt (512)."),
    "cli_bench_decode": Message("生成するトークン数（128）。", "Tokens to generate (128)."),
    "cli_bench_repetitions": Message("繰り返す回数（5）。", "How often (5)."),
    "cli_bench_threads": Message("計算スレッドの数（HOSHIKAGE_THREADS）。", "Compute threads (HOSHIKAGE_THREADS)."),
    "cli_bench_n_ctx": Message(
        "コンテキストの長さ（モデルの登録、または HOSHIKAGE_N_CTX）。",
        "Tokens of context (the model's entry, or HOSHIKAGE_N_CTX).",
    ),
    "cli_bench_gpu_layers": Message(
        "GPUに置く層の数、auto、all（HOSHIKAGE_GPU_LAYERS）。",
        "Layers in GPU memory, auto or all (HOSHIKAGE_GPU_LAYERS).",
    ),
    "cli_bench_json": Message("すべての測定値をJSONで表示します。", "Print all samples as JSON."),
    "cli_bench_tune": Message(
        "続きの推測（speculation）で速くなるかどうかを測り、結果をモデルの登録に書き込みます。",
        "Measure whether guessing what comes next makes it faster, and write that to the model's entry (speculation).",
    ),
    "bench_without": Message("推測なし", "without"),
    "bench_guessing": Message("推測あり", "guessing"),
    "bench_ratio": Message("倍率", "ratio"),
    "bench_right": Message("当たり/推測", "right/guessed"),
    "bench_task_copy": Message("文章の書き写し（トークン/秒）", "copying a text (tokens/s)"),
    "bench_task_chat": Message("ふつうの会話（トークン/秒）", "an ordinary answer (tokens/s)"),
    "bench_tuned": Message(
        "モデル '{model}' の登録に speculation={speculation} と書き込みました。",
        "Written to the entry of the model '{model}': speculation={speculation}",
    ),
    "bench_would_tune": Message(
        "このマシンでは speculation={speculation} が適しています（'{model}' は登録されていないため、書き込みません）。",
        "On this machine speculation={speculation} is best ('{model}' is not registered, so nothing was written)",
    ),
    "bench_running": Message("測定しています", "Measuring"),
    "bench_no_room": Message(
        "{n_needed} トークンの測定には、コンテキスト（{n_ctx} トークン）が足りません。--n-ctx を大きくしてください。",
        "{n_needed} tokens have no room in a context of {n_ctx}: raise --n-ctx.",
    ),
    "bench_busy": Message(
        "ほかのプログラムがCPU {n} 個分を使っていました。この数字は目安にしかなりません。",
        "Other programs kept {n} processors busy: take these figures as a rough idea.",
    ),
    "bench_gpu_layers": Message("整数、auto、all", "a number, auto, all"),
    "bench_model": Message("モデル", "Model"),
    "bench_machine": Message("マシン", "Machine"),
    "bench_cores": Message(
        "{cpu}（物理コア {cores}、スレッド {threads}）",
        "{cpu} (cores: {cores}, threads: {threads})",
    ),
    "bench_gpu": Message("GPU {gpus}（層: {layers}）", "GPU {gpus} (layers: {layers})"),
    "bench_build": Message("ビルド", "Build"),
    "bench_what": Message("測ったもの", "What"),
    "bench_prefill": Message("プロンプト処理 {n} トークン", "prefill of {n} tokens"),
    "bench_decode": Message("生成 {n} トークン", "decode of {n} tokens"),
    "bench_median": Message("トークン/秒", "tokens/s"),
    "bench_least": Message("最小", "least"),
    "bench_most": Message("最大", "most"),
    # The chat
    "chat_waiting": Message("考えています…", "Waiting for the answer..."),
    "chat_loading": Message("モデル '{model}' を読み込んでいます", "Loading '{model}'"),
    "chat_welcome": Message(
        "{model} と会話します。/help でコマンド一覧、Ctrl-C で応答の中止、Ctrl-D で終了。",
        "Talking with {model}. /help shows the commands, Ctrl-C stops an answer, Ctrl-D leaves.",
    ),
    "chat_how_to_leave": Message("終えるには Ctrl-D か /exit を。", "Ctrl-D or /exit leaves."),
    "chat_stopped": Message("（中止しました）", "(stopped)"),
    "chat_first_after": Message("最初の文字まで {time}", "first after {time}"),
    "chat_now_with": Message("ここからは {model} が答えます。", "{model} answers from here on."),
    "chat_no_system": Message("システムプロンプトはありません。", "There is no system prompt."),
    "chat_system_set": Message("システムプロンプトを変えました。", "The system prompt is changed."),
    "chat_cleared": Message("会話を最初からにしました。", "The conversation begins anew."),
    "chat_undone": Message(
        "最後のやりとりを取り消しました（残り {n} 組）。", "The last question and answer are taken back ({n} left)."
    ),
    "chat_saved": Message("会話を {path} に保存しました。", "The conversation is saved in {path}."),
    "chat_loaded": Message(
        "{path} の会話を続けます（{n} 件の発言）。", "Going on with the conversation in {path} ({n} messages)."
    ),
    "chat_nothing_set": Message("変えた値はありません。", "Nothing is set."),
    "chat_value": Message("値", "VALUE"),
    "chat_no_such_command": Message(
        "{name} というコマンドはありません。もしかして: {guess}（/help で一覧。/ で始まる文章は // と書きます）",
        "There is no command {name}. Did you mean {guess}? (/help shows all; a text that begins with / is written //)",
    ),
    "chat_needs_argument": Message("{usage} のように書いてください。", "Write {usage}."),
    "chat_takes_no_argument": Message("{name} の後には何も書けません。", "Nothing can stand behind {name}."),
    "chat_no_such_model": Message(
        "'{model}' というモデルもペルソナもありません。/model で一覧が見られます。",
        "There is no model or persona '{model}'; /model shows those that are.",
    ),
    "chat_no_figures": Message(
        "最後まで終わった答えがないので、数字はありません。",
        "There are no figures: the last answer did not come to its end.",
    ),
    "chat_nothing_yet": Message("まだ何も話していません。", "Nothing has been said yet."),
    "chat_no_such_value": Message(
        "{name} という設定はありません。近いもの: {names}", "There is no {name} to set, but {names}"
    ),
    "chat_bad_value": Message(
        "{name} の値が正しくありません: {reason}", "The value of {name} cannot be used: {reason}"
    ),
    "chat_not_saved": Message(
        "会話を {path} に保存できませんでした: {reason}", "The conversation could not be saved in {path}: {reason}"
    ),
    "not_a_chat": Message(
        "{path} は保存した会話ではありません。別のファイル名を指定してください。",
        "{path} is no saved conversation: choose another file.",
    ),
    "history_unwritable": Message(
        "履歴を {path} に残せません: {reason}。--history なしでお試しください。",
        "What is typed cannot be kept in {path}: {reason}. Try without --history.",
    ),
    "chat_help_help": Message("この一覧", "this list"),
    "chat_help_model": Message(
        "NAME に替える（なければ一覧）",
        "ask NAME from here on; without it, list whom to ask",
    ),
    "chat_help_persona": Message("ペルソナを替える（default で外す）", "turn to a persona; default: to none"),
    "chat_help_system": Message(
        "システムプロンプトを変える（なければ表示、default で消す）",
        "change the system prompt; without it, show it; default: none",
    ),
    "chat_help_clear": Message("会話を最初から", "begin anew"),
    "chat_help_retry": Message("最後の質問にもう一度答えさせる", "have the last question answered again"),
    "chat_help_undo": Message("最後のやりとりを取り消す", "take the last question and answer back"),
    "chat_help_save": Message("会話をファイルに保存", "save the conversation"),
    "chat_help_load": Message("保存した会話を続ける", "go on with a saved conversation"),
    "chat_help_set": Message(
        "temperature 0.5 などを指定（default で元に戻す、なければ表示）",
        "set temperature 0.5 and the like; default: as it was; without it, show what is set",
    ),
    "chat_help_stats": Message("トークン数と速度", "tokens and speed"),
    "chat_help_exit": Message("終える", "leave"),
    "chat_help_keys": Message(
        'Alt-Enter（または Esc, Enter）で改行。""" で始めると、次の """ までが一つの質問になります。',
        'Alt-Enter (or Esc, Enter) begins a new line. From """ to the next """ is one question.',
    ),
    "chat_row_model": Message("モデル", "Model"),
    "chat_row_context": Message("コンテキスト", "Context"),
    "chat_row_cached": Message("再計算を省いた分", "Known from before"),
    "chat_row_answer": Message("最後の答え", "Last answer"),
    "chat_row_first": Message("最初の文字まで", "First after"),
    "chat_row_all": Message("全部で", "All together"),
    "chat_all": Message("質問 {n} 件、{n_tokens} トークン", "questions: {n}, tokens: {n_tokens}"),
}
