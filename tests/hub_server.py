"""A Hugging Face hub on 127.0.0.1: the few requests that huggingface_hub makes to fetch a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: "models/owner/name" or "datasets/name" -> path in the repository -> content
Repositories = Mapping[str, Mapping[str, bytes]]


def commit_of(files: Mapping[str, bytes]) -> str:
    """The commit that the server gives a repository: 40 hexadecimal digits that depend on its content."""
    return hashlib.sha1(json.dumps({k: v.hex() for k, v in files.items()}, sort_keys=True).encode()).hexdigest()


def routes(repositories: Repositories) -> dict[str, tuple[bytes, str]]:
    """Path -> (content, commit) of everything that the server answers."""
    found: dict[str, tuple[bytes, str]] = {}
    for name, files in repositories.items():
        commit = commit_of(files)
        info = json.dumps({"id": name.split("/", 1)[1], "sha": commit, "siblings": []}).encode()
        tree = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in files.items()
        ]
        found[f"/api/{name}/revision/main"] = info, commit
        found[f"/api/{name}/tree/{commit}"] = json.dumps(tree).encode(), commit
        for path, content in files.items():
            found[f"/{name.removeprefix('models/')}/resolve/{commit}/{path}"] = content, commit
    return found


@contextmanager
def serve(repositories: Repositories, refused: Mapping[str, tuple[int, str]]) -> Iterator[tuple[str, list[str]]]:
    """The endpoint's address, and the requests that it has answered so far.

    `refused` answers for a repository, "models/owner/name", with a status and the hub's X-Error-Code.
    """
    requests: list[str] = []
    known = routes(repositories)
    closed = {f"/api/{name}/revision/main": answer for name, answer in refused.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            requests.append(f"{self.command} {path}")
            content, commit = known.get(path, (b"", ""))
            status, code = (200, "") if path in known else closed.get(path, (404, "RepoNotFound"))
            self.send_response(status)
            headers = {
                "Content-Length": str(len(content)),
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                "X-Repo-Commit": commit,
                "X-Error-Code": code,
            }
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
