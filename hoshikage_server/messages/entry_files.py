"""What is said of the files and templates that an entry of the model map names besides the model's own file."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

ENTRY_FILES: dict[str, Message] = {
    "adapter_load_failed": Message(
        "モデル '{model}' の LoRA アダプター {path} を使えません: {reason}。"
        "このモデル用のアダプターを model_map.json の 'lora' に指定してください"
        "（外すには: hoshikage model set {model} --unset lora）。",
        "The LoRA adapter {path} cannot be used with the model '{model}': {reason}. "
        "Name one that was made for this model under 'lora' in model_map.json.",
    ),
    "template_file_failed": Message(
        "モデル '{model}' のチャットテンプレート {path} を使えません: {reason}。"
        "model_map.json の 'chat_template' にある名前と、ファイルの中身を確かめてください。",
        "The chat template {path} of the model '{model}' cannot be used: {reason}. "
        "Check its name under 'chat_template' in model_map.json, and what is in the file.",
    ),
    "template_load_failed": Message(
        "model_map.json にあるモデル '{model}' の 'chat_template' を使えません: {reason}。"
        "Jinja の書き方を確かめるか、消してモデル自身のテンプレートを使ってください。",
        "The 'chat_template' of the model '{model}' in model_map.json cannot be used: {reason}. "
        "Correct the Jinja, or remove it to use the model's own.",
    ),
}
