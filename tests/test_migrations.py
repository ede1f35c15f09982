"""The migrations make what the models say, forth and back, on both databases, however many run them."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, make_url, text

from service.db.models import Base, Family
from service.db.session import Database, upgrade
from tests.service.kit import NOW, Bench


def config(root: Path, url: str) -> Config:
    made = Config()
    made.set_main_option("script_location", str(root / "migrations"))
    made.attributes["url"] = url
    return made


def test_models_and_migrations_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_down_to_nothing_and_up_again(database: Database, root: Path) -> None:
    command.downgrade(config(root, database.url), "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
    upgrade(database.url)
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}


def test_an_upgrade_of_the_newest_schema_changes_nothing(database: Database) -> None:
    family = Family(project="p", name="f", columns={}, refused={}, created_at=NOW)
    database.write(lambda session: session.add(family))
    upgrade(database.url)
    with database.read() as session:
        assert session.get_one(Family, family.id).created_at == NOW


def test_jobs_of_an_older_version_find_their_lane(database: Database, root: Path) -> None:
    bench = Bench(database)
    jobs = [bench.submit(), bench.submit(resources={"workers": 2, "cpus_per_worker": 0.5}, queue_timeout_s=7)]
    command.downgrade(config(root, database.url), "0001")
    upgrade(database.url)
    for job in jobs:
        found = bench.job(job.id)
        assert (found.lane, found.queue_timeout_s, found.queued_at) == (job.lane, job.queue_timeout_s, job.created_at)


def test_two_upgrades_at_once(sqlite_url: str, tmp_path: Path) -> None:
    del sqlite_url
    at_once(f"sqlite:///{tmp_path / 'new.db'}")


def test_two_upgrades_at_once_on_postgresql(postgres_url: str) -> None:
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    at_once(postgres_url)


def at_once(url: str) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(upgrade, url) for _ in range(2)]:
            future.result()
    engine = create_engine(make_url(url))
    assert set(inspect(engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
    engine.dispose()


def test_a_migration_that_fails_leaves_the_schema_as_it_was(database: Database, root: Path, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    head = ScriptDirectory(str(root / "migrations")).get_current_head()
    (versions / "9999_broken.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = '9999', '{head}'\n"
        "def upgrade():\n    op.create_table('half', sa.Column('id', sa.Integer()))\n    raise RuntimeError('broken')\n"
    )
    broken = config(root, database.url)
    broken.set_main_option("path_separator", "os")
    broken.set_main_option("version_locations", f"{root / 'migrations' / 'versions'}:{versions}")
    with pytest.raises(RuntimeError, match="broken"):
        command.upgrade(broken, "head")
    assert "half" not in inspect(database.engine).get_table_names()
    upgrade(database.url)


def test_history_is_one_line(root: Path) -> None:
    script = ScriptDirectory(str(root / "migrations"))
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
