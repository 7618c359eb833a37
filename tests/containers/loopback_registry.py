"""A read-only image registry on loopback (OCI distribution specification, "pull"), and images made for it.

Engines trust registries at 127.0.0.0/8 over plain HTTP, so nothing of the engine has to be set.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """What it serves, by digest and by NAME/REFERENCE; `password` of the user "tester", if it asks for one."""

    address: str
    password: str | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, tag: str, layer: Path, settings: dict[str, Any]) -> str:
        """An image of one layer, a tar archive; its digest. `settings` are its Env, Cmd and so on."""
        content = layer.read_bytes()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [digest_of(content)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._keep(CONFIG, json.dumps(config).encode()),
            "layers": [self._keep(LAYER, gzip.compress(content, 1, mtime=0))],
        }
        text = json.dumps(manifest).encode()
        self.manifests[f"{name}/{tag}"] = self.manifests[f"{name}/{digest_of(text)}"] = text
        return digest_of(text)

    def _keep(self, media_type: str, data: bytes) -> dict[str, Any]:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "size": len(data), "digest": digest_of(data)}

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, bytes]:
        """Status, media type and body of a request for `path`."""
        self.asked.append(path)
        if self.password is not None:
            expected = base64.b64encode(f"tester:{self.password}".encode()).decode()
            if authorization != f"Basic {expected}":
                return _refused(401, "UNAUTHORIZED", "authentication required")
        if path == "/v2/":
            return 200, "application/json", b"{}"
        name, _, reference = path.removeprefix("/v2/").partition("/manifests/")
        if reference:
            found = self.manifests.get(f"{name}/{reference}")
            return (
                (200, MANIFEST, found) if found is not None else _refused(404, "MANIFEST_UNKNOWN", "manifest unknown")
            )
        blob = self.blobs.get(path.rpartition("/blobs/")[2])
        return (200, "application/octet-stream", blob) if blob is not None else _refused(404, "BLOB_UNKNOWN", "no blob")


def _refused(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@contextmanager
def serving(password: str | None = None) -> Iterator[Registry]:
    """A registry at a free port of loopback, until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, media_type, body = registry.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="loopback"')
            if media_type == MANIFEST:
                self.send_header("Docker-Content-Digest", digest_of(body))
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(f"127.0.0.1:{server.server_address[1]}", password)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def one_file_layer(folder: Path) -> Path:
    """A layer with one file, of another content every time, so that no engine has it already."""
    note, layer = folder / "note", folder / "layer.tar"
    note.write_text(str(folder))
    with tarfile.open(layer, "w") as tar:
        tar.add(note, arcname="note")
    return layer


def layer_of(client: Any, image: str, folder: Path) -> Path:
    """The file system of an engine's image of one layer, as an archive, with a file that makes it another one."""
    saved, layer = folder / "saved.tar", folder / "layer.tar"
    with saved.open("wb") as file:
        for part in client.api.get_image(image):
            file.write(part)
    with tarfile.open(saved) as tar:
        (described,) = json.load(_member(tar, "manifest.json"))
        (place,) = described["Layers"]
        with layer.open("wb") as file:
            file.write(_member(tar, place).read())
    note = folder / "stands-in"
    note.write_text(str(folder))
    with tarfile.open(layer, "a") as tar:
        tar.add(note, arcname="./etc/stands-in")
    return layer


def _member(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    assert member is not None
    return member
