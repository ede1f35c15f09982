"""The `warpadam` command as a user types it, against the real API: what it prints, and its exit codes."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service import clock, cluster
from service.__main__ import parser as service_parser
from tests.api.attempt import Attempt
from tests.api.made import npz, warp_file
from tests.matches import finish
from tests.starts import make_start
from tests.warpadam.sdk.served import Served
from warpadam import cli
from warpadam.sdk.learned import Families

SPEC = """
family: digits
name: "[/] first\\tone"
dataset: {builtin: digits}
task: classification
model: {arch: mlp, hidden: [8]}
training: {steps: 10}
"""
COMMANDS = [
    *("submit", "watch", "show", "cancel", "pause", "resume", "delete", "logs", "metrics", "jobs", "cluster"),
    *(
        "doctor",
        "families",
        "families match",
        "warps list",
        "warps pull",
        "warps push",
        "warps promote",
        "serve",
        "demo",
    ),
    *("keys create", "keys list", "keys revoke", "projects list", "projects set-quota"),
    *("datasets add", "datasets list", "datasets show", "datasets delete"),
    *("starts list", "starts pull"),
    *("checkpoints list", "checkpoints pull", "checkpoints push", "db upgrade", "db check", "db backup"),
]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, "one line of JSON"
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        assert self.code == 0, self.err
        return [line.split("\t") for line in self.out.splitlines()]


Type = Callable[..., Said]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    """Runs one command in this process and gives what it said; standard output is a pipe."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["warpadam", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def warpadam(typed: Type, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """`typed`, with a service at WARPADAM_URL and job.yaml in the present folder."""
    monkeypatch.setenv("WARPADAM_URL", served.url)
    (tmp_path / "job.yaml").write_text(SPEC)
    return typed


def refused(said: Said, code: int, *words: str) -> None:
    """One clear line, no traceback, nothing on standard output."""
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1, said.err
    for word in words:
        assert word in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(typed: Type, command: str) -> None:
    said = typed(*command.split(), "--help")
    assert said.code == 0
    assert f"Usage: warpadam {command}" in said.out
    assert typed(*command.split(), "--no-such-option").code == 2


def test_help_lists_every_command_and_says_where_the_service_is(typed: Type) -> None:
    said = typed("--help")
    assert all(f" {command.split()[0]} " in said.out for command in COMMANDS)
    assert "WARPADAM_URL" in said.out


def test_submit_takes_yaml_json_and_standard_input(
    warpadam: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert warpadam("submit", "job.yaml").out.startswith("job_")
    job = warpadam("submit", "job.yaml", "--json").json
    assert (job["state"], job["spec"]["family"]) == ("queued", "digits")
    (tmp_path / "job.json").write_text(json.dumps(job["spec"]))
    assert warpadam("submit", "job.json").code == 0
    monkeypatch.setattr(sys, "stdin", (tmp_path / "job.yaml").open())
    assert warpadam("submit", "-").code == 0
    sys.stdin.close()
    assert len(warpadam("jobs", "--json").json) == 4


def test_a_dry_run_submits_nothing(warpadam: Type, tmp_path: Path) -> None:
    assert warpadam("submit", "job.yaml", "--dry-run").out == "would be accepted, without a P\n"
    assert warpadam("submit", "job.yaml", "--dry-run", "--json").json["object"] == "job_validation"
    (tmp_path / "wrong.yaml").write_text(SPEC + "optimizer: {lr: -1}\n")
    refused(warpadam("submit", "wrong.yaml", "--dry-run"), 1, "optimizer.lr", "[invalid_request]")
    assert warpadam("jobs").rows == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- a\n- b\n", "mapping"),
        ("", "mapping"),
        ("{a: [", "neither YAML nor JSON"),
        ("a: !!python/object/apply:os.getcwd []", "neither YAML nor JSON"),
        ("family: 2026-01-31", "JSON"),
        ("lr: .nan", "JSON"),
        (b"\xff\xfe\x00", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_is_no_description_is_told_before_the_service_is_asked(
    typed: Type, tmp_path: Path, text: str | bytes, word: str
) -> None:
    (tmp_path / "job.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(typed("submit", "job.yaml"), 2, "job.yaml", word)


def test_files_that_are_not_there(typed: Type, tmp_path: Path) -> None:
    refused(typed("submit", "none.yaml"), 2, "none.yaml")
    refused(typed("datasets", "add", "none.csv"), 2, "none.csv")
    refused(typed("datasets", "add", str(tmp_path)), 2, "zip")
    assert typed("warps", "push", "patches", "none.safetensors").code == 2


def test_several_mistakes_are_each_named(warpadam: Type, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(SPEC + "colour: red\noptimizer: {lr: -1}\n")
    said = warpadam("submit", "wrong.yaml")
    assert said.code == 1
    assert "  colour: " in said.err
    assert "  optimizer.lr: " in said.err


def test_the_service_says_no(warpadam: Type) -> None:
    for command in ("show", "watch", "logs", "cancel", "pause", "resume"):
        refused(warpadam(command, "job_x"), 4, "There is no job job_x", "[not_found]")
    refused(warpadam("show", "../cluster"), 4)
    refused(warpadam("jobs", "--state", "happy"), 1, "state")
    refused(warpadam("warps", "list", "nobody"), 4, "nobody")
    refused(warpadam("warps", "pull", "nobody@7"), 4, "nobody")


def test_no_service_is_exit_code_3(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warpadam.sdk.connection.backoff_s", lambda *_: 0.0)
    monkeypatch.setenv("WARPADAM_URL", "http://127.0.0.1:9")
    refused(typed("jobs"), 3, "http://127.0.0.1:9", "warpadam serve")
    monkeypatch.setenv("WARPADAM_URL", "foo")
    refused(typed("jobs"), 3, "WARPADAM_URL")


def test_jobs_are_steered(warpadam: Type) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()
    assert warpadam("pause", job_id).out == f"{job_id} paused\n"
    assert warpadam("resume", job_id, "--json").json["state"] == "queued"
    assert warpadam("cancel", job_id).out == f"{job_id} cancelled\n"
    assert warpadam("cancel", job_id).code == 0
    refused(warpadam("pause", job_id), 1, "[invalid_state]")
    assert "state: cancelled" in warpadam("show", job_id).out
    assert warpadam("show", job_id, "--json").json["id"] == job_id
    watched = warpadam("watch", job_id)
    assert (watched.code, watched.out) == (1, f"{job_id} cancelled\n")


def test_a_pipe_gets_one_line_of_fields_for_each_job(warpadam: Type) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()
    assert warpadam("jobs", "--state", "running").rows == []
    (row,) = warpadam("jobs", "--state", "running", "--state", "queued", "--family", "digits").rows
    assert row[:7] == [job_id, "queued", "digits", "[/] first one", "0/10", "-", "-"]
    warpadam("submit", "job.yaml")
    assert len(warpadam("jobs", "-n", "1").rows) == 1
    assert warpadam("jobs", "-n", "0").code == 2


def test_a_narrow_terminal_gets_whole_ids(warpadam: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()
    for name, value in {"TTY_COMPATIBLE": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    said = warpadam("jobs")
    assert job_id in said.out
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in said.out.splitlines()) <= 80
    assert "created" not in said.out
    monkeypatch.setenv("COLUMNS", "160")
    assert "[/] first one" in warpadam("jobs").out


def test_a_job_that_ended_is_watched_and_its_log_printed(warpadam: Type, served: Served) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()
    attempt = Attempt.begin(served.database)
    attempt.tell("step 5 of 10\x1b[2J")
    (served.folder / "logs").mkdir()
    (served.folder / "logs" / f"{job_id}-1.log").write_text("hello\nworld\n")
    final = {"val_loss": 0.25}
    attempt.finish(result={"steps": 10, "seconds": 1.5, "final": final, "best": {**final, "step": 10}})
    watched = warpadam("watch", job_id)
    assert (watched.code, watched.out) == (0, f"{job_id} succeeded, val_loss 0.2500\n")
    assert warpadam("watch", job_id, "--json").json["state"] == "succeeded"
    assert warpadam("logs", job_id).out == warpadam("logs", job_id, "-f").out == "hello\nworld\n"
    assert json.loads(warpadam("logs", job_id, "--json").out.splitlines()[0])["message"] == "hello"
    events = warpadam("logs", job_id, "--events").out
    assert "running: from step 0" in events
    assert "step 5 of 10 [2J" in events
    assert events.splitlines()[-1].split()[1] == "end"


def test_a_job_that_is_too_large_for_now_says_so_when_it_is_submitted(
    warpadam: Type, served: Served, tmp_path: Path
) -> None:
    nodes = {"nodes": [{"id": "n", "name": "n", "cpus": 2.0, "gpus": 0.0, "alive": True}]}
    served.database.write(lambda session: cluster.write_snapshot(session, "d", nodes, clock.now()))
    (tmp_path / "job.yaml").write_text(SPEC + "resources: {gpus_per_worker: 4}\n")
    said = warpadam("submit", "job.yaml")
    assert said.out.startswith("job_")
    assert "it waits: needs 4 GPUs a worker, the largest node has 0" in said.err


def test_datasets_are_added_and_listed(warpadam: Type, tmp_path: Path) -> None:
    (tmp_path / "patches.npz").write_bytes(npz())
    dataset_id = warpadam("datasets", "add", "patches.npz", "--val-fraction", "0.2").out.strip()
    dataset = warpadam("datasets", "add", "patches.npz", "--name", "again", "--json").json
    assert dataset["state"] == "ready"
    assert {row[0] for row in warpadam("datasets", "list").rows} == {dataset_id, dataset["id"]}
    assert warpadam("datasets", "list", "-n", "1", "--json").json[0]["name"] == "again"
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    refused(warpadam("datasets", "add", "table.csv", "--target", "price"), 1, "price")


def test_starts_are_listed_and_pulled(warpadam: Type, served: Served) -> None:
    warpadam("submit", "job.yaml")
    refused(warpadam("starts", "pull", "digits"), 2, "no start yet")
    make_start(served.database, served.services.storage, "default", "digits")
    assert warpadam("starts", "list", "digits").rows[0][:2] == ["digits@1", "0123456789ab"]
    pulled = warpadam("starts", "pull", "digits@1", "-o", "w.safetensors", "--json").json
    assert (pulled["path"], pulled["version"]) == ("w.safetensors", 1)
    assert warpadam("starts", "pull", "digits").out.startswith("digits-start.safetensors: start 1, ")
    make_start(served.database, served.services.storage, "default", "digits", version=2, anchor="b" * 12)
    refused(warpadam("starts", "pull", "digits"), 2, "several models")
    refused(warpadam("starts", "pull", "digits@champion"), 2, "by its number")


def test_warps_are_pushed_listed_and_pulled(warpadam: Type, served: Served, tmp_path: Path) -> None:
    (tmp_path / "p.safetensors").write_bytes(warp_file())
    warpadam("submit", "job.yaml")
    refused(warpadam("warps", "pull", "digits"), 4, "no P yet")
    assert warpadam("warps", "push", "digits", "p.safetensors").out == "digits@1\n"
    assert warpadam("warps", "push", "digits", "p.safetensors", "--json").json["version"] in (1, 2)
    assert warpadam("warps", "list", "digits").rows[-1][0] == "digits@1"
    assert warpadam("warps", "list", "digits", "--json").json[-1]["version"] == 1
    pulled = warpadam("warps", "pull", "digits@1", "-o", "out/mine.safetensors", "--json").json
    assert pulled["path"] == "out/mine.safetensors"
    assert warpadam("warps", "pull", "digits@latest").out.startswith("digits.safetensors: version ")
    refused(warpadam("warps", "pull", "digits@1", "-o", "p.safetensors/x"), 1, "p.safetensors")
    (row,) = warpadam("families").rows
    assert row[0] == "digits"
    assert warpadam("families", "--json").json[0]["name"] == "digits"
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
    refused(warpadam("warps", "push", "digits", "bad.safetensors"), 1)


def test_the_family_that_suits_is_shown(warpadam: Type, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's description will do: what a match has no use for is left out."""
    warpadam("submit", "job.yaml")
    sent: list[dict[str, Any]] = []
    ask = Families.match.function

    async def asked(families: Any, spec: dict[str, Any]) -> Any:
        sent.append(spec)
        found = await ask(families, spec)
        finish(served.database)
        return found

    monkeypatch.setattr(Families.match, "function", asked)
    said = warpadam("families", "match", "job.yaml", "--family", "digits", "-n", "3")
    assert said.rows == [
        ["digits@3", "0.1200", "0.0100", "0.9000", "0.3000", "0.0040", "1/2"],
        ["(none)", "0.0000", "0.0000", "0.0000", "0.4000", "0.0040", "-"],
    ]
    assert said.err == "prices: It has none. [no_champion]\nfamily: digits: digits@3 is better.\n"
    assert sent[0].keys() == {"dataset", "task", "model", "families", "limit"}
    assert warpadam("families", "match", "job.yaml", "--json").json["state"] == "succeeded"
    monkeypatch.setattr(Families.match, "function", ask)
    refused(warpadam("families", "match", "job.yaml", "--family", "nobody"), 1, "nobody")
    refused(warpadam("families", "match", "none.yaml"), 2, "none.yaml")


def test_server_commands_become_the_service(typed: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[list[str]] = []

    def execute(_program: str, arguments: list[str]) -> None:
        became.append(arguments[1:])

    monkeypatch.setattr("os.execv", execute)
    typed("serve", "--port", "0", "--data-dir", "here")
    typed("db", "upgrade")
    typed("db", "backup", "-o", "copy.tar", "--data-dir", "here")
    typed("db", "restore", "copy.tar", "--json")
    serve, upgrade, backup, restore = became
    assert serve == ["-m", "service", "serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", "here"]
    assert upgrade == ["-m", "service", "upgrade"]
    assert backup == ["-m", "service", "backup", "--output", "copy.tar", "--data-dir", "here"]
    assert restore == ["-m", "service", "restore", "copy.tar", "--json"]


def test_commands_of_keys_and_projects_become_the_service(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what they become understands them."""
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _program, arguments: became.append(arguments[3:]))
    typed("keys", "create", "--scope", "admin", "--scope", "code:run", "--project", "p", "--expires-in", "1d", "--json")
    typed("keys", "list", "--data-dir", "here")
    typed("keys", "revoke", "key_x")
    typed("projects", "list")
    typed("projects", "set-quota", "p", "--running-jobs", "4", "--gpu-seconds", "none")
    scopes = ["--scope", "admin", "--scope", "code:run"]
    create = ["keys", "create", "--project", "p", "--name=", *scopes, "--expires-in", "1d", "--json"]
    assert became[0] == create
    assert became[4] == ["projects", "set-quota", "p", "--running-jobs=4", "--gpu-seconds=none"]
    for arguments in became:
        assert service_parser().parse_args(arguments).run
