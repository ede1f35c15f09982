"""`python -m service keys | projects`: straight in the database, also before the service first starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from service import clock, keys
from service.__main__ import main
from service.db.session import Database


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main([*arguments, "--data-dir", str(tmp_path)])
        except SystemExit as ended:
            status = int(str(ended.code))
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_the_first_key_makes_the_database(run: Any, tmp_path: Path) -> None:
    status, secret, said = run("keys", "create", "--project", "alpha", "--scope", "admin", "--expires-in", "2h")
    assert status == 0
    assert secret.strip() not in said
    database = Database(f"sqlite:///{tmp_path / 'warpadam.db'}")
    with database.read() as session:
        known = keys.authenticate(session, secret.strip(), clock.now())
        row = keys.get(session, "alpha", known.id)
    assert (known.project, known.scopes) == ("alpha", {"admin"})
    assert row.expires_at is not None
    assert (row.expires_at - row.created_at).total_seconds() == 7200
    status, told, _ = run("keys", "revoke", known.id, "--json")
    assert (status, json.loads(told)) == (0, {"id": known.id, "revoked": True})
    assert run("keys", "list")[1] == ""
    database.dispose()


def test_keys_are_listed_without_their_secrets(run: Any) -> None:
    made = json.loads(
        run("keys", "create", "--scope", "code:run", "--scope", "jobs:read", "--name", "a\tb", "--json")[1]
    )
    other = json.loads(run("keys", "create", "--scope", "admin", "--project", "omega", "--json")[1])
    secret = made.pop("secret")
    listed = json.loads(run("keys", "list", "--json")[1])
    assert [each["id"] for each in listed] == [other["id"], made["id"]]
    assert listed[1] == made
    (line,) = run("keys", "list", "--project", "default")[1].splitlines()
    assert line.split("\t")[:4] == [made["id"], "default", "a b", "jobs:read,code:run"]
    assert secret not in line


def test_quotas_are_set_shown_and_given_back(run: Any) -> None:
    def limits(*arguments: str) -> dict[str, Any]:
        (row,) = json.loads(run("projects", *arguments, "--json")[1])
        return dict(row)

    after = limits("set-quota", "alpha", "--running-jobs=4", "--requests-per-minute=none")
    assert (after["running_jobs"], after["requests_per_minute"]) == (4, None)
    assert limits("list") == after
    assert limits("set-quota", "alpha", "--requests-per-minute=default")["requests_per_minute"] == 6000
    assert limits("list")["running_jobs"] == 4


@pytest.mark.parametrize(
    "wrong",
    [
        ("keys", "create", "--scope", "all"),
        ("keys", "create"),
        ("keys", "create", "--scope", "admin", "--project", "A b"),
        ("keys", "create", "--scope", "admin", "--expires-in", "tomorrow"),
        ("keys", "revoke", "key_x"),
        ("projects", "set-quota", "alpha"),
        ("projects", "set-quota", "alpha", "--running-jobs=-1"),
        ("projects", "set-quota", "alpha", "--running-jobs=many"),
    ],
)
def test_what_is_wrong_is_told(run: Any, wrong: tuple[str, ...]) -> None:
    status, out, said = run(*wrong)
    assert (status, out) == (2, "")
    assert "error: " in said
    assert "Traceback" not in said


def test_an_older_database_is_told(run: Any, tmp_path: Path) -> None:
    (tmp_path / "warpadam.db").touch()
    assert "db upgrade" in run("keys", "list")[2]
