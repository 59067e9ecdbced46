"""What the operating system says of an error, for the errors that people meet; of others its own words are told."""

from __future__ import annotations

from hoshikage_server.messages.message import Message

SYSTEM: dict[str, Message] = {
    "os_enoent": Message("ファイルまたはフォルダがありません", "there is no such file or folder"),
    "os_eacces": Message("アクセスする権限がありません", "permission is denied"),
    "os_eperm": Message("許可されていない操作です", "this is not permitted"),
    "os_enospc": Message("ディスクの空きがありません", "there is no space left on the disk"),
    "os_edquot": Message("ディスクの割り当て量を使い切りました", "the disk quota is used up"),
    "os_efbig": Message("ファイルが大きくなりすぎます", "the file would be too large"),
    "os_erofs": Message("読み取り専用のファイルシステムです", "the file system is read-only"),
    "os_eisdir": Message("ファイルではなくフォルダです", "it is a folder"),
    "os_enotdir": Message("パスの途中がフォルダではありません", "a part of the path is no folder"),
    "os_enotempty": Message("フォルダが空ではありません", "the folder is not empty"),
    "os_eexist": Message("すでに存在します", "it exists already"),
    "os_ebusy": Message("ほかで使用中です", "it is in use"),
    "os_eloop": Message("シンボリックリンクが循環しているか、多すぎます", "there are too many symbolic links"),
    "os_enametoolong": Message("名前が長すぎます", "the name is too long"),
    "os_eio": Message("ディスクの読み書きに失敗しました", "reading or writing failed: the disk may be faulty"),
    "os_emfile": Message(
        "開けるファイルの数の上限に達しました。'ulimit -n' を上げてください",
        "too many files are open: raise the limit, 'ulimit -n'",
    ),
    "os_enfile": Message(
        "システム全体で、開けるファイルの数の上限に達しました", "too many files are open in the system"
    ),
    "os_enomem": Message("メモリが足りません", "there is not enough memory"),
    "os_eagain": Message("資源が一時的に足りません", "a resource is unavailable for the moment"),
    "os_epipe": Message("相手が接続を閉じました", "the other end has closed it"),
    "os_eaddrinuse": Message("このアドレスはすでに使われています", "the address is in use already"),
    "os_eaddrnotavail": Message("このマシンにないアドレスです", "this machine does not have the address"),
    "os_etimedout": Message("時間内に応答がありませんでした", "there was no answer in time"),
    "os_econnrefused": Message("接続を拒否されました", "the connection was refused"),
    "os_econnreset": Message("接続が途中で切れました", "the connection was broken off"),
    "os_enetunreach": Message("ネットワークにつながりません", "the network cannot be reached"),
    "os_ehostunreach": Message("相手のマシンに届きません", "the other machine cannot be reached"),
}
