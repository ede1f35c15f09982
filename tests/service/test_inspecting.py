"""Large uploads are inspected after they were answered, whatever becomes of who does it."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from service import clock, datasets, examining, inspecting
from service.data import source
from service.db.models import Dataset
from service.db.session import Database
from service.errors import StorageFull
from service.inspecting import Inspector
from service.origins import Uploaded
from service.settings import Settings
from service.spec import DatasetOptions
from service.storage import Storage

OPTIONS = DatasetOptions(name="mine")


@pytest.fixture
def inspector(database_url: str, tmp_path: Path) -> Iterator[Inspector]:
    settings = Settings(data_dir=tmp_path)
    database = Database(database_url)
    yield Inspector(database, Storage(settings.storage), settings)
    database.dispose()


def begin(inspector: Inspector, content: bytes | None = None) -> str:
    if content is None:
        buffer = io.BytesIO()
        np.savez(buffer, x=np.arange(40.0).reshape(20, 2), y=np.arange(20) % 2)
        content = buffer.getvalue()
    upload = Uploaded(inspector.storage.put("datasets", content), "data.npz")
    row = inspector.database.write(lambda session: datasets.begin(session, "default", upload, OPTIONS, clock.now()))
    assert row.state == "inspecting"
    return row.id


def read(inspector: Inspector, id_: str) -> Dataset:
    with inspector.database.read() as session:
        return datasets.get(session, "default", id_)


def expire(inspector: Inspector, id_: str) -> None:
    def work(session: object) -> None:
        row = datasets.get(session, "default", id_)  # type: ignore[arg-type]
        row.inspect_until = clock.now() - timedelta(seconds=1)

    inspector.database.write(work)


def test_the_oldest_first_until_none_is_left(inspector: Inspector) -> None:
    good, bad = begin(inspector), begin(inspector, b"no archive")
    assert [inspector.run_once() for _ in range(3)] == [True, True, False]
    row = read(inspector, good)
    assert (row.state, row.name, row.options["format"], row.inspector) == ("ready", "mine", "npz", None)
    assert datasets.info(row).classes == [0, 1]
    assert read(inspector, bad).state == "invalid"
    assert "data.npz" in (read(inspector, bad).error or "")


def test_a_stopped_one_leaves_it_to_the_next(inspector: Inspector) -> None:
    id_ = begin(inspector)
    inspector.stopping.set()
    assert inspector.run_once()
    row = read(inspector, id_)
    assert (row.state, row.inspector, row.inspections) == ("inspecting", None, 0)
    assert Inspector(inspector.database, inspector.storage, inspector.settings).run_once()
    assert read(inspector, id_).state == "ready"


def test_a_lost_one_is_taken_over_when_its_lease_ends_and_can_write_nothing_more(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = begin(inspector)
    other = replace(inspector, id="other")
    examine = examining.examine

    def lost(*arguments: object) -> examining.Examined:
        assert not other.run_once()
        expire(inspector, id_)
        monkeypatch.setattr(examining, "examine", examine)
        assert other.run_once()
        assert read(inspector, id_).state == "ready"
        return replace(examine(*arguments), info=None, error="too late")  # type: ignore[arg-type]

    monkeypatch.setattr(examining, "examine", lost)
    assert inspector.run_once()
    assert (read(inspector, id_).state, read(inspector, id_).error) == ("ready", None)


def test_data_that_ends_its_inspector_each_time_becomes_invalid(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = begin(inspector)

    def full(*_: object) -> None:
        raise StorageFull("no room")

    monkeypatch.setattr(examining, "examine", full)
    for _ in range(inspecting.MAX_INSPECTIONS):
        with pytest.raises(StorageFull):
            inspector.run_once()
        assert read(inspector, id_).state == "inspecting"
        expire(inspector, id_)
    inspector.run_once()
    row = read(inspector, id_)
    assert row.state == "invalid"
    assert "3 attempts" in (row.error or "")


def test_one_that_was_deleted_meanwhile_stays_deleted(inspector: Inspector) -> None:
    id_ = begin(inspector)
    inspector.database.write(lambda session: datasets.delete(session, "default", id_, clock.now()))
    assert not inspector.run_once()


def test_beats_tell_how_far_it_is_and_prolong_the_lease(inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = begin(inspector)
    monkeypatch.setattr(inspecting, "BEAT_S", 0.001)
    seen: list[int] = []
    watched = source.watched

    def watching(file: source.FileSource, progress: source.Progress) -> source.FileSource:
        progress(100)
        for _ in range(10_000):
            seen.append(read(inspector, id_).inspected_bytes)
            if seen[-1]:
                break
        return watched(file, progress)

    monkeypatch.setattr(examining, "watched", watching)
    inspector.run_once()
    assert seen[-1] == 100
    assert read(inspector, id_).state == "ready"
