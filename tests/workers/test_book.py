"""What an attempt records: all of it, and in transactions that nobody else has to wait for long."""

from pathlib import Path

import pytest
from sqlalchemy import select

from service import clock
from service.db.models import Checkpoint
from tests.workers.jobs import House
from workers.book import SAVED_AT_ONCE, Book
from workers.loading import load
from workers.reporting import Metric, Saved


def test_checkpoints_in_plenty_are_named_a_few_at_a_time(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House.build(database_url, tmp_path)
    try:
        fence = house.start()
        book, steps = Book(house.memory, fence), [*range(1, 2 * SAVED_AT_ONCE + 2)]
        book.begin(load(house.memory, fence), 0)
        monkeypatch.setattr("workers.uploads.MOST_WAITING", len(steps))
        told = Metric("train_loss", 1, 0.5, clock.now())
        book.take([told, *(Saved(step, b"model", b"state", None, is_best=False) for step in steps)])
        for _, upload in book._uploads._waiting:
            upload.result(30)
        writes, write = [], house.memory.database.write
        monkeypatch.setattr(house.memory.database, "write", lambda work: (writes.append(work), write(work))[1])
        assert book.beat() is None
        assert book.is_settled
        assert len(writes) == 3
        with house.memory.database.read() as session:
            named = session.scalars(select(Checkpoint.step).where(Checkpoint.job_id == fence.job_id)).all()
        assert max(named) == steps[-1]
        assert house.points(fence.job_id, "train_loss") == [(1, 0.5)]
        book.close()
    finally:
        house.memory.database.dispose()
