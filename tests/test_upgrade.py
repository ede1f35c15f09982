"""A database of the first version, with its data, is brought to the newest schema and goes on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text
from starlette.testclient import TestClient

from api.app import create_app
from service.db.models import Base
from service.db.session import Database, head, upgrade, version
from service.settings import Settings
from tests.service.kit import Bench
from tests.test_migrations import config


@pytest.fixture
def old(database_url: str, root: Path) -> Iterator[Database]:
    """Made by the migrations up to 0001, and filled with what was written then."""
    database = Database(database_url)
    command.downgrade(config(root, database_url), "base")
    command.upgrade(config(root, database_url), "0001")
    engine = create_engine(database_url)
    with engine.begin() as connection:
        for line in (root / "tests/data/0001.sql").read_text().splitlines():
            if not line.startswith("--"):
                connection.exec_driver_sql(for_dialect(line, engine.dialect.name))
        if engine.dialect.name == "postgresql":
            count_on(connection)
    engine.dispose()
    yield database
    database.dispose()


def for_dialect(statement: str, dialect: str) -> str:
    if dialect == "postgresql":
        statement = re.sub(r"X'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
        return statement.replace("%", "%%")
    return statement


def count_on(connection: object) -> None:
    """Rows that were inserted with their numbers move no sequence, as they did when they were written."""
    for table in ("families", "alias_changes", "transitions", "contributions"):
        connection.execute(  # type: ignore[attr-defined]
            text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        )


def test_an_old_database_is_upgraded_with_its_data(old: Database, tmp_path: Path) -> None:
    assert version(old) == "0001"
    upgrade(old.url)
    assert version(old) == head()
    assert set(Base.metadata.tables) <= set(inspect(old.engine).get_table_names())
    bench = Bench(old)
    app = create_app(Settings(data_dir=tmp_path, database_url=old.url))
    with TestClient(app, base_url="http://localhost:8000") as client:
        done, waiting = sorted(client.get("/v1/jobs").json()["data"], key=lambda job: job["created_at"])
        assert {done["state"], waiting["state"]} == {"succeeded", "queued"}
        done, waiting = (done, waiting) if done["state"] == "succeeded" else (waiting, done)
        assert done["result"]["final"] == {"val_loss": 0.1}
        assert client.get("/v1/jobs?metadata[owner]=ada").json()["data"][0]["id"] == done["id"]
        points = client.get(f"/v1/jobs/{done['id']}/metrics").json()["data"]["train_loss"]
        assert [point["step"] for point in points] == [0, 1, 2]
        assert client.get(f"/v1/jobs/{done['id']}/events").json()["data"][-1]["type"] == "end"
        assert client.get("/v1/families/f/warps/champion/content").status_code == 200
        assert len(client.get("/v1/families/f/contributions").json()["data"]) == 1
        app.state.services.database.dispose()
    claim = bench.claim()
    assert claim is not None
    assert claim.job.id == waiting["id"]
