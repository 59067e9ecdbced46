"""What is said of the files and templates that an entry of the model map names."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

ENTRY_FILES: dict[str, Message] = {
    "model_file_missing": Message(
        "モデル '{model}' のファイル {path} がありません。ファイルを元に戻すか、"
        "'hoshikage model set {model} path=フォルダ model=ファイル名' で移した先を指定するか、"
        "'hoshikage model rm {model}' で登録を外してください。",
        "The file {path} of the model '{model}' is missing. Put it back, say where it is now with "
        "'hoshikage model set {model} path=FOLDER model=FILE', or take the model off the list with "
        "'hoshikage model rm {model}'.",
    ),
    "adapter_load_failed": Message(
        "モデル '{model}' に LoRA アダプター {path} を適用できません: {reason}。"
        "このモデル用のアダプターを 'lora' に指定するか、'hoshikage model set {model} lora=' で外してください。",
        "The LoRA adapter {path} cannot be used with the model '{model}': {reason}. Name one that was made for this "
        "model under 'lora', or type 'hoshikage model set {model} lora=' to go without.",
    ),
    "draft_model_failed": Message(
        "モデル '{model}' のドラフトモデル {path} を使えません: {reason}。"
        "同じ語彙の小さなモデルを 'draft_model' に指定するか、"
        "'hoshikage model set {model} draft_model=' で外してください。",
        "The draft model {path} of the model '{model}' cannot be used: {reason}. Name a small model of the same "
        "vocabulary under 'draft_model', or type 'hoshikage model set {model} draft_model=' to go without.",
    ),
    "template_file_failed": Message(
        "モデル '{model}' のチャットテンプレート {path} を使えません: {reason}。ファイルを確かめるか、"
        "'hoshikage model set {model} chat_template=' でモデル自身のテンプレートに戻してください。",
        "The chat template {path} of the model '{model}' cannot be used: {reason}. Check the file, or type "
        "'hoshikage model set {model} chat_template=' to return to the model's own.",
    ),
    "template_load_failed": Message(
        "モデル '{model}' の 'chat_template' を使えません: {reason}。Jinja の書き方を確かめるか、"
        "'hoshikage model set {model} chat_template=' でモデル自身のテンプレートに戻してください。",
        "The 'chat_template' of the model '{model}' cannot be used: {reason}. Correct the Jinja, or type "
        "'hoshikage model set {model} chat_template=' to return to the model's own.",
    ),
}
