"""Data at outside addresses: what is read, and what is refused."""

import functools
import http.server
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.data import FileSource, FolderSource
from service.data.outside import opened
from service.errors import InvalidRequest, TooLarge
from service.outbound import Guard

MIB = 1 << 20
HERE = Guard(networks=(ip_network("127.0.0.0/8"),))
"""The web servers of this test are on this machine."""


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    root = tmp_path / "data root"
    root.mkdir()
    (root / "a.txt").write_bytes(b"hello")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return [root]


def read(uri: str, roots: list[Path], max_bytes: int = MIB) -> bytes:
    with opened(uri, roots, max_bytes, HERE) as (source, _):
        assert isinstance(source, FileSource)
        with source.open() as file:
            content = file.read()
        assert source.size == len(content)
        return content


def refused(uri: str, roots: list[Path], message: str, guard: Guard = HERE) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught, opened(uri, roots, MIB, guard):
        pass
    assert caught.value.param == "uri"


def test_local_files_below_a_root(roots: list[Path]) -> None:
    path = roots[0] / "a.txt"
    assert read(str(path), roots) == b"hello"
    assert read(path.as_uri(), roots) == b"hello"
    assert read(f"{roots[0]}/../{roots[0].name}/a.txt", roots) == b"hello"


def test_local_files_elsewhere_are_refused(roots: list[Path], tmp_path: Path) -> None:
    (roots[0] / "link.txt").symlink_to(tmp_path / "secret.txt")
    (roots[0] / "loop").symlink_to(roots[0] / "loop")
    for path in ("../secret.txt", "link.txt"):
        refused(f"{roots[0]}/{path}", roots, "below .* only")
        refused(f"file://{roots[0]}/{path}", roots, "below .* only")
    refused("/etc/passwd", roots, "below .* only")
    refused("/etc/no-such-file", roots, "below .* only")
    refused("a.txt", roots, "absolute")
    refused(f"file://elsewhere{roots[0]}/a.txt", roots, "names no host")
    refused(f"{roots[0]}/no-such-file", roots, "there is no file")
    refused(f"{roots[0]}/loop", roots, "data cannot be read")
    refused(f"{roots[0]}/a.txt\0", roots, "cannot be printed")
    refused(f"file://{roots[0]}/a.txt%00", roots, "cannot be followed")
    refused(str(roots[0] / "a.txt"), [], "WARPADAM_DATA_ROOTS")


def test_a_folder_is_hashed_by_names_and_contents(roots: list[Path], tmp_path: Path) -> None:
    digests = set()
    for name, content in (("x", b"1"), ("y", b"1"), ("y", b"2")):
        folder = roots[0] / "images"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / name).write_bytes(content)
        with opened(str(folder), roots, MIB, HERE) as (source, sha256):
            assert isinstance(source, FolderSource)
            assert [member.path for member in source.members] == [name]
            digests.add(sha256)
    assert len(digests) == 3
    (roots[0] / "images" / "link").symlink_to(tmp_path / "secret.txt")
    refused(str(roots[0] / "images"), roots, "link that leads outside")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("zip://a.csv::file:///etc/passwd", "chained"),
        ("simplecache::http://host/a", "chained"),
        ("ssh://host/a.csv", "scheme 'ssh' is not accepted"),
        ("ftp://host/a.csv", "scheme 'ftp' is not accepted"),
        ("http://user:password@localhost/a.csv", "no user or password"),
        ("hdfs://namenode:8020/a.csv", "scheme 'hdfs' is not accepted"),
        ("http://169.254.169.254/latest/meta-data", "no public address"),
        ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/latest/meta-data", "no public address"),
        ("http://0xa9fea9fe/latest/meta-data", "no public address"),
        ("http://10.0.0.1/a.csv", "no public address"),
        ("memory://nothing-there.csv", "scheme 'memory' is not accepted"),
        ("s3://bucket/a.csv", "below the prefixes"),
        ("https://host/a/../b.csv", "no . or .."),
        ("https://host/a/%252e%252e/b.csv", "no . or .."),
        ("http://127.0.0.1:9/a.csv", "cannot be read"),
    ],
)
def test_other_addresses_are_refused(uri: str, message: str, roots: list[Path]) -> None:
    refused(uri, roots, message)


def test_too_large_local_files(roots: list[Path]) -> None:
    with pytest.raises(TooLarge):
        read(str(roots[0] / "a.txt"), roots, max_bytes=4)


@pytest.fixture
def web(roots: list[Path]) -> Iterator[str]:
    """A web server that knows no ranges."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(roots[0]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_web_server(web: str, roots: list[Path]) -> None:
    assert read(f"{web}/a.txt", roots) == b"hello"
    refused(f"{web}/nothing.txt", roots, "there is nothing at")
    with pytest.raises(TooLarge):
        read(f"{web}/a.txt", roots, max_bytes=4)
    refused(f"{web}/a.txt", roots, "no public address", Guard())


def test_redirects_are_judged_too(roots: list[Path]) -> None:
    """The first address is allowed, the one that it names is not."""

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            refused(f"http://127.0.0.1:{server.server_port}/a.txt", roots, "no public address")
        finally:
            server.shutdown()
