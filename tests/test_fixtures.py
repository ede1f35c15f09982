"""The shared fixtures keep their promises: fresh databases, short paths, a Ray that imports our packages."""

import tempfile
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, inspect, text

SOCKET_PATH_LIMIT = 104  # macOS; Linux allows 107
LONGEST_SOCKET_NAME = len("/session_2026-12-31_23-59-59_999999_1234567/sockets/plasma_store")


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_a_migrated_database_that_nobody_wrote_to(database_url: str, turn: int) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        tables = inspect(connection).get_table_names()
        assert "alembic_version" in tables
        assert "left_by_a_test" not in tables
        connection.execute(text("CREATE TABLE left_by_a_test (turn INTEGER)"))


def test_sockets_have_room(short_tmp_path: Path) -> None:
    assert len(str(short_tmp_path)) + LONGEST_SOCKET_NAME <= SOCKET_PATH_LIMIT
    assert tempfile.gettempdir() == "/tmp"


@pytest.mark.ray
def test_ray_runs_our_code_in_another_process(ray_connection: str, root: Path) -> None:
    import ray

    @ray.remote
    def where() -> str:
        import service

        return str(Path(service.__file__).resolve())

    assert ray.get(where.remote(), timeout=60) == str(root / "service" / "__init__.py")
    assert ray.cluster_resources()["CPU"] == 4
