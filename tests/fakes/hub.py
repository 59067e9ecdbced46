"""A hub of models on loopback, for huggingface_hub with HF_ENDPOINT: ``python tests/fakes/hub.py FOLDER``.

FOLDER has a folder for each OWNER/NAME; its files are the repository's. It prints its URL, and then one line for each
request: method, path, the Range that was asked for, and whether a token came with it. What a repository's name holds
says what is wrong with it:

* ``private``: nobody may see it; ``gated``: its list may be seen, its files not;
* ``cut``: the first connection for a file ends in the middle; ``stall``: the first one sends half and then nothing;
* ``wrong``: checksums are not those of the files; ``huge``: sizes are more than any disk has;
* ``elsewhere``: files are fetched from another host (another name of this one);
* ``down``: everything is an error 500.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
TOO_MUCH = 10**18


class Hub(ThreadingHTTPServer):
    """The server; `folder` holds its repositories."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.seen: set[str] = set()  # files of which a connection has failed already
        self.lock = threading.Lock()

    def is_first(self, what: str) -> bool:
        with self.lock:
            is_first = what not in self.seen
            self.seen.add(what)
            return is_first


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *arguments: object) -> None:
        """Says nothing; `do_GET` tells what is asked."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = "token" if self.headers.get("Authorization") else "-"
        print(self.command, path, self.headers.get("Range", "-"), token, flush=True)
        listed = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)", path)
        resolved = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/\w+/(.+)", path)
        fetched = re.fullmatch(r"/cdn/([\w.-]+/[\w.-]+?)/(.+\.gguf)", path)
        found = listed or resolved or fetched
        repo = found[1] if found else ""
        folder = self.server.folder / repo
        if "down" in repo:
            self.answer(500)
        elif not found or not folder.is_dir():
            self.answer(404, {"X-Error-Code": "RepoNotFound"})
        elif "private" in repo:
            self.answer(401, {"X-Error-Code": "RepoNotFound"})
        elif listed:
            self.list(repo, folder)
        elif "gated" in repo:
            self.answer(403, {"X-Error-Code": "GatedRepo"})
        elif resolved and "elsewhere" in repo:
            self.redirect(repo, found[2], folder / found[2])
        else:
            self.send(repo, folder / found[2])

    def list(self, repo: str, folder: Path) -> None:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        siblings = []
        for file in files:
            size = TOO_MUCH if "huge" in repo else file.stat().st_size
            lfs = {"sha256": self.sha256(repo, file), "size": size, "pointerSize": 134}
            siblings.append({"rfilename": str(file.relative_to(folder)), "size": size, "blobId": "b", "lfs": lfs})
        body = {"_id": "1", "id": repo, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def redirect(self, repo: str, name: str, file: Path) -> None:
        port = self.server.server_address[1]
        location = f"http://localhost:{port}/cdn/{repo}/{name}"
        size = {"X-Linked-Size": str(file.stat().st_size), "X-Linked-ETag": f'"{self.sha256(repo, file)}"'}
        self.answer(302, {"Location": location, "X-Repo-Commit": COMMIT, **size})

    def send(self, repo: str, file: Path) -> None:
        if not file.is_file():
            self.answer(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        part = content[start:]
        headers = {"ETag": f'"{self.sha256(repo, file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if asked else 200)
        for name, value in (headers | {"Content-Length": str(len(part))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if ("cut" in repo or "stall" in repo) and self.server.is_first(str(file)):
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            if "stall" in repo:
                print("half", flush=True)
                threading.Event().wait(60)
            self.close_connection = True
            return
        self.wfile.write(part)

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def sha256(self, repo: str, file: Path) -> str:
        return "0" * 64 if "wrong" in repo else hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    hub = Hub(Path(sys.argv[1]))
    print(f"http://127.0.0.1:{hub.server_address[1]}", flush=True)
    hub.serve_forever()
