"""What is shown of jobs and transfers: a bar with the live loss in a terminal, lines or nothing in a pipe."""

import threading
from pathlib import Path

import pytest

from tests.api.attempt import Attempt
from tests.api.made import npz
from tests.warpadam.sdk.served import Served
from tests.warpadam.sdk.test_client import DIGITS
from warpadam import Client


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm", "COLUMNS": "160"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("terminal")
def test_a_bar_with_the_live_loss(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(served.url) as client:
        job = client.jobs.create(DIGITS)
        attempt = Attempt.begin(served.database)
        attempt.metric("train_loss", [2.0, 1.2345])
        final = {"val_loss": 1.5}
        result = {"steps": 10, "seconds": 1.5, "final": final, "best": {**final, "step": 10}}
        later = threading.Timer(1.0, lambda: attempt.finish(result=result))
        later.start()
        job.wait(progress=True, poll_s=0.1)
        later.join()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "running, train_loss 1.2345" in shown.err
    assert "succeeded, val_loss 1.5000" in shown.err
    assert "━" in shown.err


@pytest.mark.usefixtures("terminal")
def test_a_bar_of_a_transfer(served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "patches.npz").write_bytes(npz(rows=4000))
    with Client(served.url) as client:
        client.datasets.create(tmp_path / "patches.npz", progress=True)
    shown = capsys.readouterr()
    assert "patches.npz" in shown.err
    assert "KiB" in shown.err


def test_a_pipe_sees_nothing_of_transfers(served: Served, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "patches.npz").write_bytes(npz())
    with Client(served.url) as client:
        client.datasets.create(tmp_path / "patches.npz", progress=True)
    assert capsys.readouterr() == ("", "")
