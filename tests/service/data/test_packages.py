"""Packages of user code: what is understood of them without running anything, and what does not get in."""

import io
import stat
import zipfile
from pathlib import Path

import pytest

from service.data import DataError, FileSource, packages
from service.data.formats import sniff
from service.data.outline import outline
from tests.workers.code.packed import packed

NET = "import torch\nfrom torch import nn as layers\nclass Net: pass\ndef build(i, o): pass\nif True:\n    LATE = 1\n"


def source(data: bytes, name: str = "code.zip") -> FileSource:
    return FileSource(name, len(data), lambda: io.BytesIO(data))


def test_its_modules_and_their_names_are_told() -> None:
    files: dict[str, str | bytes] = {
        "mine/__init__.py": "",
        "mine/net.py": NET,
        "mine/sizes.json": "{}",
        "one.py": "x: int = 3",
    }
    info = packages.inspect(source(packed(files)))
    assert [(module.name, module.names) for module in info.modules] == [
        ("mine", []),
        ("mine.net", ["LATE", "Net", "build", "layers", "torch"]),
        ("one", ["x"]),
    ]
    assert (info.kind, info.files, info.warnings) == ("package", 4, [])
    assert info.problem("mine.net:build") is None
    assert info.problem("mine.net:biuld") == (
        "the module mine.net defines no biuld: it defines LATE, Net, build, layers, torch"
    )
    assert info.problem("net:build") == "the package has no module net: it has mine, mine.net, one"


@pytest.mark.parametrize("text", ["from elsewhere import *", "def __getattr__(name): ...", "for x in y: exec('')"])
def test_what_only_running_it_would_tell_is_left_open(text: str) -> None:
    assert packages.inspect(source(packed({"net.py": text}))).problem("net:anything") is None


def test_a_wheel_and_a_zip_with_python_are_recognised() -> None:
    wheel = packed({"mine/net.py": NET, "mine-1.0.dist-info/RECORD": "", "mine-1.0.dist-info/WHEEL": ""})
    assert sniff(source(wheel, "mine-1.0-py3-none-any.whl")) == sniff(source(wheel, "mine.zip")) == "package"
    assert packages.inspect(source(wheel)).problem("mine.net:build") is None
    assert sniff(source(packed({"cat/1.png": b"", "make.py": ""}), "pets.zip")) == "images"


def link(name: str) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def lying() -> bytes:
    """A file that says it is smaller than it is."""
    data = bytearray(packed({"net.py": "x = 1\n" * 100}))
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no zip", "no readable zip file or wheel"),
        (packed({"readme.md": "no code"}), "holds no module"),
        (packed({"../net.py": ""}), "leads outside"),
        (packed({"/net.py": ""}), "leads outside"),
        (packed({"a\\..\\net.py": ""}), "leads outside"),
        (packed({"c:net.py": ""}), "leads outside"),
        (packed({"./net.py": ""}), "short plain names"),
        (packed({"a/" * 130 + "net.py": ""}), "short plain names"),
        (packed({"a\nb/net.py": ""}), "short plain names"),
        (packed({"net.py": "", "NET.py": ""}), "net.py twice"),
        (packed({"net.py": "", "net.py/a.py": ""}), "as a file and as a folder"),
        (packed({"net.py": "", "fast.so": b""}), "fast.so is neither Python nor plain text"),
        (packed({"net.py": "", "net.pyc": b""}), "net.pyc is neither"),
        (packed({"net.py": "", "weights.pkl": b""}), "weights.pkl is neither"),
        (packed({"net.py": "", "evil.pth": "import os"}), "evil.pth is neither"),
        (packed({"torch/__init__.py": ""}), "the name torch is taken"),
        (packed({"json.py": ""}), "rename json.py"),
        (packed({"service/settings.py": ""}), "the name service is taken"),
        (link("net.py"), "net.py is a link"),
        (lying(), "net.py (cannot be read|has another size)"),
        (packed({f"a{index}.py": "" for index in range(2001)}), "2001 files"),
        (packed({f"a{index}.py": "" for index in range(501)}), "501 modules"),
        (packed({"net.py": "def build(:"}), "net.py, line 1: invalid syntax"),
        (packed({"net.py": b"x = '\xff'"}), "net.py, line 1"),
        (packed({"net.py": b"x = 1\0"}), "net.py"),
        (packed({"net.py": "(" * 100_000}), "net.py"),
        (packed({"net.py": "x = " + "-" * 1_000_000 + "1"}), "net.py"),
    ],
)
def test_what_does_not_belong_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        packages.inspect(source(data))


def test_a_bomb_is_seen_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_BYTES", 2**16)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net.py", b"#" * (packages.MAX_BYTES + 1))
    for take in (lambda: packages.inspect(source(file.getvalue())), lambda: packages.unpack(file.getvalue(), tmp_path)):
        with pytest.raises(DataError, match="unpacks to"):
            take()


def test_it_is_unpacked_as_it_was_and_nowhere_else(tmp_path: Path) -> None:
    packages.unpack(packed({"mine/net.py": NET, "mine/__pycache__/x.pyc": b"", "__MACOSX/._x": b""}), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == ["mine/net.py"]
    assert (tmp_path / "mine/net.py").read_text() == NET
    with pytest.raises(DataError, match="leads outside"):
        packages.unpack(packed({"../../escaped.py": ""}), tmp_path / "deep")


def test_an_outline_runs_nothing_and_fails_in_words() -> None:
    assert outline(b"raise SystemExit", "a.py") == {"names": [], "open": False}
    text = b"try:\n    import a\nexcept ImportError:\n    b = 1\nwith x:\n    async def c(): ..."
    assert outline(text, "a.py")["names"] == ["a", "b", "c"]
    assert "line 1" in str(outline(b"def", "a.py")["error"])
