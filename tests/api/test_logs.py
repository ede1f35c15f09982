"""What attempts printed, as pages and live."""

import pytest
from starlette.testclient import TestClient

from api.deps import Services
from service import logs
from tests.api.attempt import Attempt
from tests.api.made import npz, spec

STREAM = {"accept": "text/event-stream"}


@pytest.fixture
def job(client: TestClient) -> str:
    dataset = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    made: dict[str, str] = client.post("/v1/jobs", json=spec(dataset)).json()
    return made["id"]


def _print(services: Services, job: str, data: bytes) -> None:
    folder = services.settings.data_dir / "logs"
    folder.mkdir(exist_ok=True)
    with (folder / f"{job}-1.log").open("ab") as file:
        file.write(data)


def test_lines_come_in_pages(client: TestClient, services: Services, job: str) -> None:
    path = f"/v1/jobs/{job}/logs"
    assert client.get(path).json()["data"] == []
    attempt = Attempt.begin(services.database)
    _print(services, job, "one\ntwö\n\nthree\nfo".encode())
    first = client.get(f"{path}?limit=3").json()
    rest = client.get(f"{path}?after={first['next_cursor']}").json()
    lines = [(each["attempt"], each["message"]) for each in first["data"] + rest["data"]]
    assert lines == [(1, "one"), (1, "twö"), (1, ""), (1, "three")]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    attempt.finish(result={})
    assert client.get(path).json()["data"][-1]["message"] == "fo"
    for wrong in ("x", "é", "AAAA", first["next_cursor"][:-3]):
        assert client.get(path, params={"after": wrong}).json()["param"] == "after"


def test_the_stream_ends_with_the_job(client: TestClient, services: Services, job: str) -> None:
    attempt = Attempt.begin(services.database)
    _print(services, job, b"one\ntwo\n")
    last = client.get(f"/v1/jobs/{job}/logs").json()["data"][0]["id"]
    attempt.finish(result={})
    whole = client.get(f"/v1/jobs/{job}/logs", headers=STREAM).text
    assert [line for line in whole.splitlines() if line.startswith("event")] == [
        "event: log",
        "event: log",
        "event: end",
    ]
    resumed = client.get(f"/v1/jobs/{job}/logs", headers={**STREAM, "last-event-id": last}).text
    assert '"one"' not in resumed
    assert '"two"' in resumed


def test_a_long_line_is_cut(client: TestClient, services: Services, job: str) -> None:
    Attempt.begin(services.database)
    _print(services, job, b"x" * (2 * logs.MAX_LINE_BYTES + 1) + b"\n")
    sizes = [len(each["message"]) for each in client.get(f"/v1/jobs/{job}/logs").json()["data"]]
    assert sizes == [logs.MAX_LINE_BYTES, logs.MAX_LINE_BYTES, 1]
