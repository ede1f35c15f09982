"""Images in folders and zips, and what strangers put into them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.data import DataError, FileSource, FolderSource, Limits, Member, inspect, load
from service.spec import DatasetOptions
from tests.service.data.sources import color, file, gray, image, zipped

OPTIONS = DatasetOptions()
CATS_AND_DOGS = {"cat/1.png": gray(0), "cat/2.png": gray(51), "dog/1.png": gray(102), "dog/2.png": gray(255)}


def test_a_folder_per_class() -> None:
    arrays = load(zipped(CATS_AND_DOGS), OPTIONS, "classification")
    assert arrays.info.classes == ["cat", "dog"]
    assert arrays.info.input.shape == [4, 4, 1]
    pairs = [(x[0, 0, 0], y) for x, y in zip(arrays.x_train, arrays.y_train, strict=True)]
    pairs += [(x[0, 0, 0], y) for x, y in zip(arrays.x_val, arrays.y_val, strict=True)]
    assert sorted((round(float(x), 3), int(y)) for x, y in pairs) == [(0, 0), (0.2, 0), (0.4, 1), (1, 1)]


def test_a_folder_on_disk_is_read_like_its_zip(tmp_path: Path) -> None:
    members = []
    for name, content in CATS_AND_DOGS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        members.append(Member(name, len(content), lambda path=path: path.open("rb")))
    from_folder = load(FolderSource("images", members), OPTIONS, "classification")
    from_zip = load(zipped(CATS_AND_DOGS), OPTIONS, "classification")
    np.testing.assert_array_equal(from_folder.x_train, from_zip.x_train)
    np.testing.assert_array_equal(from_folder.y_val, from_zip.y_val)


def test_a_packed_outer_folder_and_what_systems_add_do_not_matter() -> None:
    members = {f"photos/{name}": content for name, content in CATS_AND_DOGS.items()}
    members |= {"__MACOSX/photos/cat/._1.png": b"x", "photos/.DS_Store": b"x", "photos/cat/Thumbs.db": b"x"}
    info = inspect(zipped(members), OPTIONS)
    assert info.classes == ["cat", "dog"]
    assert info.warnings == []


def test_other_files_are_named_in_a_warning() -> None:
    info = inspect(zipped(CATS_AND_DOGS | {"README.txt": b"hello"}), OPTIONS)
    assert "README.txt" in info.warnings[0]


def test_train_and_val_folders_are_the_split() -> None:
    members = {f"train/{name}": content for name, content in CATS_AND_DOGS.items()}
    members |= {"val/cat/9.png": gray(9), "test/dog/1.png": gray(1)}
    arrays = load(zipped(members), OPTIONS, "classification")
    assert (arrays.info.train, arrays.info.val) == (4, 1)
    assert arrays.y_val.tolist() == [0]
    assert "test" in arrays.info.warnings[0]


def test_a_test_folder_is_no_class() -> None:
    members = {f"train/{name}": content for name, content in CATS_AND_DOGS.items()}
    info = inspect(zipped(members | {"test/cat/1.png": gray(1)}), OPTIONS)
    assert info.classes == ["cat", "dog"]
    assert (info.train, info.val) == (3, 1)


def test_one_colored_image_makes_all_colored() -> None:
    arrays = load(zipped(CATS_AND_DOGS | {"dog/3.png": color(7)}), OPTIONS, "classification")
    assert arrays.info.input.shape == [4, 4, 3]
    both = np.concatenate([arrays.x_train, arrays.x_val])
    np.testing.assert_array_equal(both[..., 0], both[..., 2])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_modes(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, "TIFF" if mode in ("CMYK", "LA") else "PNG")
    info = inspect(zipped({"a/1.tif": buffer.getvalue(), "b/1.tif": buffer.getvalue()}), OPTIONS)
    assert info.input.shape == [4, 4, 1 if mode in ("1", "L", "LA") else 3]


def sixteen_bit() -> bytes:
    return image(np.zeros((4, 4), dtype=np.uint16))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.png": gray(), "cat/2.png": gray()}, r"1\.png is in no class folder"),
        ({"train/1.png": gray(), "val/cat/1.png": gray()}, r"in no class folder"),
        ({"cat/1.png": gray(), "cat/2.png": gray()}, r"at least two classes"),
        ({"cat/1.png": gray(size=4), "dog/1.png": gray(size=5)}, r"4x4 .* 5x5: resize"),
        ({"cat/1.png": b"no image", "dog/1.png": gray()}, r"cat/1\.png is no image"),
        ({"cat/1.png": gray()[:-30], "dog/1.png": gray()}, r"cat/1\.png cannot be read|cat/1\.png is no image"),
        ({"cat/1.png": sixteen_bit(), "dog/1.png": gray()}, r"8 bits"),
        ({"cat/notes.txt": b"hello"}, r"no images"),
        ({}, r"no images"),
        (CATS_AND_DOGS | {"../evil.png": gray()}, r"leads outside"),
        (CATS_AND_DOGS | {"/etc/evil.png": gray()}, r"leads outside"),
        (CATS_AND_DOGS | {"cat/..\\evil.png": gray()}, r"leads outside"),
    ],
)
def test_every_mistake_is_told(members: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        inspect(zipped(members), DatasetOptions(format="images"))


def test_damaged_and_encrypted_archives_are_told() -> None:
    whole = zipped(CATS_AND_DOGS).open().read()
    for content in (b"", b"PK", whole[:-40]):
        with pytest.raises(DataError, match=r"pack it again"):
            inspect(file("images.zip", content), DatasetOptions(format="images"))
    encrypted = bytearray(whole)
    central = whole.index(b"PK\x01\x02")
    encrypted[central + 8] |= 1
    with pytest.raises(DataError, match=r"password"):
        inspect(file("images.zip", bytes(encrypted)), OPTIONS)


def test_a_damaged_member_is_named() -> None:
    whole = bytearray(zipped({"a/1.png": color(3, 64), "b/1.png": color(4, 64)}).open().read())
    whole[60] ^= 0xFF
    with pytest.raises(DataError, match=r"a/1\.png cannot be read"):
        inspect(file("images.zip", bytes(whole)), OPTIONS)


def bomb() -> FileSource:
    """A few kilobytes that declare, and are, 16 MiB."""
    return zipped(CATS_AND_DOGS | {"cat/3.png": bytes(16 << 20)})


def test_bombs_are_refused_by_what_they_declare() -> None:
    source = bomb()
    assert source.size < 100_000
    with pytest.raises(DataError, match=r"unpacks to"):
        inspect(source, OPTIONS, Limits(max_bytes=1 << 20))
    with pytest.raises(DataError, match=r"holds 4 files"):
        inspect(zipped(CATS_AND_DOGS), OPTIONS, Limits(max_files=3))


def test_a_bomb_that_declares_too_little_is_not_unpacked() -> None:
    """The declared size is what is read at most; the checksum then fails."""
    content = bytearray(bomb().open().read())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        name = archive.getinfo("cat/3.png").filename.encode()
    central = content.rindex(name) - 46
    assert content[central : central + 4] == b"PK\x01\x02"
    content[central + 24 : central + 28] = (100).to_bytes(4, "little")
    with pytest.raises(DataError, match=r"cat/3\.png"):
        inspect(file("images.zip", bytes(content)), OPTIONS, Limits(max_bytes=1 << 20))


@pytest.mark.parametrize("side", [100, 12_000])
def test_images_of_too_many_pixels_are_refused(side: int) -> None:
    """12 000 squared is where Pillow itself warns."""
    large = io.BytesIO()
    Image.new("1", (side, side)).save(large, "PNG")
    with pytest.raises(DataError, match=r"pixels; at most 1000"):
        inspect(zipped({"a/1.png": large.getvalue(), "b/1.png": gray()}), OPTIONS, Limits(max_pixels=1000))


def test_many_images_that_unpack_to_too_much_are_refused() -> None:
    large = io.BytesIO()
    Image.new("1", (500, 500)).save(large, "PNG")
    members = {f"{name}/1.png": large.getvalue() for name in "abcdefgh"}
    with pytest.raises(DataError, match=r"unpacks to 2000000"):
        inspect(zipped(members), OPTIONS, Limits(max_bytes=1_000_000))
