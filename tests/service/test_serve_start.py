"""`serve` beside a database server that is still starting."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from service.serve import wait_for_database
from service.settings import Settings


def test_a_database_that_comes_a_little_later_is_waited_for(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(postgres_url)
    real, later = url.query["host"], tmp_path / "later"
    assert isinstance(real, str)
    waiting = Settings(database_url=url.set(query={**url.query, "host": str(later)}).render_as_string(False))
    began = time.monotonic()
    timer = threading.Timer(0.7, lambda: later.symlink_to(real))
    timer.start()
    wait_for_database(waiting, patience_s=30)
    timer.join()
    assert time.monotonic() - began >= 0.7
    assert caplog.text.count("the database does not answer") == 1


def test_one_that_never_comes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError):
        wait_for_database(Settings(database_url=f"postgresql+psycopg://nobody@/none?host={tmp_path}"), patience_s=0.2)
