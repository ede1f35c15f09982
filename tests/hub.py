"""A hub on this machine: what the real one answers, for repositories that a test makes. Files lie on another path, to
which it leads on, as the real one does."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.require import require_module

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class StandIn:
    """`repositories`: "datasets/owner/name" or "models/owner/name" → revision → path → content."""

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Authorization of each request."""
    token: str | None = None
    leads_to: str = ""
    """Another place for the files than this one."""
    extra: dict[str, bytes] = field(default_factory=dict)
    """Content that is sent in the stead of a file's own."""

    def add(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """The commit."""
        digest = hashlib.sha1(b"".join(path.encode() + files[path] for path in sorted(files))).hexdigest()
        self.repositories.setdefault(name, {}).update({revision: files, digest: files})
        return digest

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((path, authorization))
        parts = [unquote(part) for part in urlsplit(path).path.strip("/").split("/")]
        if parts[0] == "elsewhere":
            kind, name, revision, file = parts[1], "/".join(parts[2:4]), parts[4], "/".join(parts[5:])
            return 200, {}, self.extra.get(file, self.repositories[f"{kind}/{name}"][revision][file])
        if self.token is not None and authorization != f"Bearer {self.token}":
            return 401, {}, b"{}"
        if parts[0] == "api":
            return self._listing(parts[1], "/".join(parts[2:4]), parts[5])
        kind = "datasets" if parts[0] == "datasets" else "models"
        rest = parts[1:] if kind == "datasets" else parts
        place = f"/elsewhere/{kind}/{rest[0]}/{rest[1]}/{rest[3]}/{'/'.join(rest[4:])}"
        return 302, {"Location": f"{self.leads_to or self.url}{place}"}, b""

    def _listing(self, kind: str, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        files = self.repositories.get(f"{kind}/{name}", {}).get(revision)
        if files is None:
            return 404, {}, b"{}"
        siblings: list[dict[str, Any]] = [
            {
                "rfilename": path,
                "size": len(content),
                "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)},
            }
            for path, content in files.items()
        ]
        commit = next(
            each for each, there in self.repositories[f"{kind}/{name}"].items() if there is files and len(each) == 40
        )
        return 200, {}, json.dumps({"sha": commit, "siblings": siblings}).encode()


@contextmanager
def stand_in(package: str) -> Iterator[StandIn]:
    """A hub for a test that needs the library `package`."""
    require_module(package, "pip install 'warpadam[huggingface]'")
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
