"""Data sets of the hub, by the real `datasets` from a hub on this machine."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from service import datasets
from service.data import DatasetInfo
from service.db.models import Dataset
from service.db.session import Database
from service.errors import InvalidRequest, TooLarge, Unavailable
from service.hub import extras
from service.settings import Settings
from service.spec import DatasetRef
from service.storage import Storage
from tests.hub import StandIn

NAME = "datasets/acme/houses"
URI = f"hf://{NAME}"


def parquet(columns: dict[str, Any], features: str | None = None) -> bytes:
    buffer = io.BytesIO()
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": features})
    pq.write_table(table, buffer)
    return buffer.getvalue()


def houses(rows: int, start: int = 0) -> dict[str, Any]:
    numbers = [float(row) for row in range(start, start + rows)]
    return {"size": numbers, "rooms": [number % 5 for number in numbers], "price": [2 * number for number in numbers]}


CARD = b"""---
license: a & b
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
- config_name: small
  data_files: small/*.csv
---
# Houses
"""
FILES = {
    "README.md": CARD,
    "data/train-0.parquet": parquet(houses(20)),
    "data/train-1.parquet": parquet(houses(20, 20)),
    "data/test-0.parquet": parquet(houses(10)),
    "small/a.csv": b"size,price\n" + b"".join(b"%d,%d\n" % (row, row) for row in range(12)),
    "houses.py": b"raise SystemExit('code of a repository was run')",
}


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


Register = Callable[..., Dataset]


@pytest.fixture
def register(database: Database, storage: Storage, settings: Settings) -> Register:
    def work(uri: str = URI, settings: Settings = settings, **fields: Any) -> Dataset:
        ref = DatasetRef(uri=uri, **fields)
        return datasets.for_spec(database, storage, settings, "default", ref)

    return work


def info(row: Dataset) -> DatasetInfo:
    return DatasetInfo.model_validate(row.info)


def test_a_table_is_pinned_kept_and_read_without_the_hub(
    hub: StandIn, register: Register, storage: Storage, settings: Settings
) -> None:
    commit = hub.add(NAME, FILES)
    row = register(target="price")
    assert info(row).train + info(row).val == 40
    assert info(row).columns == ["size", "rooms"]
    assert row.options["hub"]["uri"] == f"{URI}@{commit}"
    fetched = [path for path, _ in hub.asked if path.startswith("/datasets/")]
    assert fetched == [
        f"/{NAME}/resolve/{commit}/{path}" for path in ("README.md", "data/train-0.parquet", "data/train-1.parquet")
    ]
    hub.repositories.clear()
    arrays = datasets.open_arrays(storage, settings, row, "regression")
    assert len(arrays.x_train) == info(row).train


def test_an_equal_one_is_not_fetched_again_and_a_new_commit_is(hub: StandIn, register: Register) -> None:
    hub.add(NAME, FILES)
    first = register(target="price")
    asked = len(hub.asked)
    assert register(target="price").id == first.id
    assert len(hub.asked) == asked + 1
    hub.add(NAME, {**FILES, "data/train-1.parquet": parquet(houses(4))})
    newer = register(target="price")
    assert info(newer).train + info(newer).val == 24
    assert register(f"{URI}@{first.options['hub']['commit']}", target="price").id == first.id


def test_configurations_splits_and_columns(hub: StandIn, register: Register) -> None:
    hub.add(NAME, FILES)
    small = register(config="small", target="price")
    assert info(small).train + info(small).val == 12
    both = register(split="train[:50%]+test", columns=["size"], target="price")
    assert info(both).train + info(both).val == 30
    assert info(both).columns == ["size"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"split": "valid"}, "no split 'valid', but train, test"), ({"columns": ["garden"]}, "no column 'garden'")],
)
def test_what_is_not_there_is_told(hub: StandIn, register: Register, fields: Any, message: str) -> None:
    hub.add(NAME, FILES)
    with pytest.raises(InvalidRequest, match=message) as caught:
        register(target="price", **fields)
    assert caught.value.param == "dataset.uri"


def test_labels_get_their_names(hub: StandIn, register: Register) -> None:
    features = (
        '{"info": {"features": {"x": {"dtype": "float64", "_type": "Value"}, '
        '"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'
    )
    hub.add(NAME, {"train.parquet": parquet({"x": [1.0, 2, 3, 4] * 4, "label": [0, 1, 1, 0] * 4}, features)})
    assert info(register()).classes == ["cat", "dog"]


def test_text_becomes_text_and_labelled_text_rows_of_bytes(
    hub: StandIn, register: Register, storage: Storage, settings: Settings
) -> None:
    words = ["good", "bad", "very good", "oh no, bäd"] * 5
    hub.add(
        NAME,
        {"train.jsonl": b"".join(b'{"text": "%s", "label": %d}\n' % (w.encode(), n % 2) for n, w in enumerate(words))},
    )
    plain = register(columns=["text"])
    assert info(plain).kind == "text"
    labelled = register(max_length=6)
    arrays = datasets.open_arrays(storage, settings, labelled, "classification")
    assert arrays.info.input.shape == [6]
    assert bytes(arrays.x_train[0].astype("u1")) in {b"good\0\0", b"bad\0\0\0", b"very g", b"oh no,"}


def test_images_become_a_zip_of_classes(hub: StandIn, register: Register) -> None:
    def png(shade: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
        return buffer.getvalue()

    hub.add(NAME, {f"train/{label}/{n}.png": png(9 * n) for label in ("red", "dark") for n in range(6)})
    found = info(register())
    assert found.kind == "images"
    assert found.classes == ["dark", "red"]
    assert found.input.shape == [8, 8, 3]


@pytest.mark.parametrize(
    "data_files",
    [
        "/etc/hostname",
        "https://example.com/a.csv",
        "../../../etc/hostname",
        "zip://*::/etc/a.zip",
        "file:///etc/hostname",
    ],
)
def test_a_card_that_names_other_files_is_refused(hub: StandIn, register: Register, data_files: str) -> None:
    card = f"---\nconfigs:\n- config_name: default\n  data_files: '{data_files}'\n---\n".encode()
    hub.add(NAME, {**FILES, "README.md": card})
    with pytest.raises(InvalidRequest, match="not its own"):
        register(target="price")


def test_only_readers_that_run_nothing_are_used(hub: StandIn, register: Register) -> None:
    hub.add(NAME, {"train-0.tar": b"anything", "houses.py": FILES["houses.py"]})
    with pytest.raises(InvalidRequest, match="cannot be used"):
        register(target="price")


def test_a_token_goes_to_the_hub_and_no_further(hub: StandIn, register: Register, settings: Settings) -> None:
    hub.add(NAME, FILES)
    hub.token = "hf_secret"
    with pytest.raises(InvalidRequest, match="shows no such repository"):
        register(target="price")
    stores = [{"prefix": "hf://datasets/acme", "projects": ["default"], "options": {"token": "hf_secret"}}]
    listed = Settings.model_validate({**settings.model_dump(), "data_stores": stores})
    hub.asked.clear()
    assert register(settings=listed, target="price").state == "ready"
    sent = {path.startswith("/elsewhere"): token for path, token in hub.asked}
    assert sent == {False: "Bearer hf_secret", True: None}
    with pytest.raises(InvalidRequest, match="prefixes that it lists"):
        register("hf://datasets/others/houses", settings=listed)


def test_the_hub_may_not_lead_inside(hub: StandIn, register: Register, settings: Settings) -> None:
    hub.add(NAME, FILES)
    hub.leads_to = "http://169.254.169.254"
    with pytest.raises(InvalidRequest, match="not reached from here"):
        register(target="price")
    closed = settings.model_copy(update={"outbound_networks": ()})
    with pytest.raises(InvalidRequest, match="not reached from here"):
        register(settings=closed, target="price")
    with pytest.raises(InvalidRequest, match="asks no hub"):
        register(settings=settings.model_copy(update={"hub_url": ""}), target="price")


def test_sizes_and_contents_are_held_to_what_was_promised(hub: StandIn, register: Register, settings: Settings) -> None:
    hub.add(NAME, FILES)
    with pytest.raises(TooLarge):
        register(settings=settings.model_copy(update={"max_upload_bytes": 1000}), target="price")
    hub.extra["data/train-0.parquet"] = b"x" * len(FILES["data/train-0.parquet"])
    with pytest.raises(Unavailable, match="something else"):
        register(target="price")


@pytest.mark.parametrize(
    "uri",
    [
        "hf://acme/houses",
        "hf://datasets/../../secret",
        "hf://datasets/a/b@../c",
        "hf://datasets/a/b?x=1",
        "hf://datasets/",
    ],
)
def test_addresses_that_are_none(register: Register, uri: str) -> None:
    with pytest.raises(InvalidRequest):
        register(uri)


def test_a_missing_extra_is_told_with_the_command(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_here", lambda _package: False)
    with pytest.raises(InvalidRequest, match=r"pip install 'warpadam\[huggingface\]'"):
        register()


def test_its_fields_go_with_the_hub_only() -> None:
    with pytest.raises(ValidationError, match="hub only"):
        DatasetRef(uri="https://example.com/a.csv", split="train")
