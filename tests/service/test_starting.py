"""`serve` beside a database server that is still starting."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from service.bind import RefusesToStart
from service.db.session import Database
from service.settings import Settings
from service.starting import check_start, wait_for_database


def test_a_database_that_comes_a_little_later_is_waited_for(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(postgres_url)
    real, later = url.query["host"], tmp_path / "later"
    assert isinstance(real, str)
    waiting = Database(url.set(query={**url.query, "host": str(later)}).render_as_string(False))
    began = time.monotonic()
    timer = threading.Timer(0.7, lambda: later.symlink_to(real))
    timer.start()
    wait_for_database(waiting, patience_s=30)
    timer.join()
    assert time.monotonic() - began >= 0.7
    waiting.dispose()
    assert caplog.text.count("the database does not answer") == 1


def test_one_that_never_comes_is_an_error(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    with pytest.raises(OperationalError):
        wait_for_database(database, patience_s=0.2)
    database.dispose()


def test_looking_for_keys_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match="has no keys"):
        check_start(Settings(data_dir=tmp_path, auth="keys"))
    assert list(tmp_path.iterdir()) == []
