"""User code in its process: what it can see and reach, and how whatever it does there ends."""

import ast
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.require import missing
from tests.workers.code.packed import NET, code_plan
from tests.workers.plans import Learner
from workers.code import confine, host
from workers.code.frames import METRICS
from workers.failures import BadInputError, TrainingError
from workers.group import Group
from workers.mailbox import Ended, Inbox
from workers.reporting import Metric, Printed, Saved

SECRETS = {
    "WARPADAM_DATABASE_URL": "postgresql://user:hunter2@db/warpadam",
    "WARPADAM_SECRETS_DIR": "/run/secrets",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "GOOGLE_APPLICATION_CREDENTIALS": "/hunter2.json",
    "AZURE_STORAGE_KEY": "hunter2",
    "RAY_AUTH_TOKEN": "hunter2",
    "HF_TOKEN": "hunter2",
}

CURIOUS = """
import os, socket, subprocess, sys, threading
from service.settings import Settings

def tried(what):
    try:
        return repr(what())[:200]
    except BaseException as error:
        return type(error).__name__

def look(place):
    return {
        "environ": dict(os.environ),
        "at start": open("/proc/self/environ").read(),
        "descriptors": [tried(lambda fd=fd: os.readlink(f"/proc/self/fd/{fd}")) for fd in os.listdir("/proc/self/fd")],
        "parent": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
        "parent's files": tried(lambda: os.listdir(f"/proc/{os.getppid()}/fd")),
        "kill": tried(lambda: os.kill(os.getppid(), 0)),
        "secret": tried(lambda: open(place).read()),
        "written": tried(lambda: open(place, "a")),
        "by another program": tried(lambda: subprocess.run(["/bin/cat", place], check=True)),
        "temporary": tried(lambda: os.listdir("/tmp")),
        "shared memory": tried(lambda: os.listdir("/dev/shm")),
        "listed": tried(lambda: open("/proc/self/net/unix").read()),
        "listed again": tried(lambda: open(f"/proc/self/task/{os.getpid()}/net/unix").read()),
        "udp": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        "a socket's path": tried(lambda: socket.socket(socket.AF_UNIX).connect("PATH")),
        "in pairs": tried(lambda: [each.close() for each in socket.socketpair()]),
        "tcp": tried(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
        "abstract": tried(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + "wa-test-PORT")),
        "settings": Settings().database_url,
        "own": tried(lambda: open(os.environ["HOME"] + "/x", "w").write("1")),
        "package": tried(lambda: open(__file__, "a")),
    }

print("SEEN", look("PLACE"))
threading.Thread(target=threading.Event().wait).start()  # never ends
if os.fork() == 0:
    os.setsid()
    sys.stdout.flush()
    os.execv("/bin/sleep", ["/bin/sleep", "987"])
print("x" * (4 << 20))
"""


@contextmanager
def nothing_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def printed(inbox: list[object]) -> str:
    return "".join(note.text for note in inbox if isinstance(note, Printed))


def test_it_trains_and_sees_nothing_but_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run, all the curiosity: variables, /proc, files, signals, sockets; threads and a process that it leaves."""
    if confine.version() == 0:
        missing("needs a kernel with Landlock: Linux 5.13 or later, where it is switched on")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "warpadam.db"
    place.write_text("the database")
    inbox, learner = Inbox(), Learner()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract, nothing_left():
        port = str(server.getsockname()[1])
        abstract.bind(f"\0wa-test-{port}")
        abstract.listen()
        curious = CURIOUS.replace("PLACE", str(place)).replace("PORT", port)
        host.run(code_plan(curious + NET), Group(), inbox, learner)
    notes: list[object] = list(inbox.drain())
    text = printed(notes)
    (line,) = [line for line in text.splitlines() if "SEEN" in line]
    seen = ast.literal_eval(line.partition("SEEN ")[2])
    assert "hunter2" not in line
    for variables in (seen["environ"], seen["at start"]):
        assert not [name for name in SECRETS if name in variables]
        assert "WARPADAM_" not in str(variables)
    refused = (
        "listed",
        "listed again",
        "udp",
        "a socket's path",
        "parent",
        "parent's files",
        "kill",
        "secret",
        "written",
        "temporary",
        "shared memory",
        "tcp",
        "abstract",
    )
    refused = tuple(what for what in refused if what != "kill" or confine.version() >= 6)  # Linux 6.12
    assert {what: seen[what] for what in refused} == dict.fromkeys(refused, "PermissionError")
    assert seen["in pairs"] == "[None, None]"
    assert (seen["by another program"], seen["settings"], seen["own"]) == ("CalledProcessError", "", "1")
    assert seen["package"] == "PermissionError"
    assert {each.split(":")[0] for each in seen["descriptors"]} <= {
        "'/dev/null'",
        "'pipe",
        "'socket",
        "FileNotFoundError",
    }
    assert sum(each.startswith("'socket") for each in seen["descriptors"]) == 1
    assert "bytes of what the code printed were not kept" in text
    assert len(text) < 2**20
    assert isinstance(notes[-1], Ended)
    assert notes[-1].outcome.version == 7
    assert {note.name for note in notes if isinstance(note, Metric)} <= METRICS
    assert [note.step for note in notes if isinstance(note, Saved)] == [10, 20]
    assert len(learner.sent) >= 4


LEAVING = """
import os, time
if os.fork() == 0:
    os.setsid()
    os.execv("/bin/sleep", ["/bin/sleep", "987"])
os._exit(3)
"""


def test_a_process_that_just_ends_is_told_and_leaves_nothing() -> None:
    with nothing_left(), pytest.raises(TrainingError, match=r"exit code 3 at step 0.*os\._exit") as caught:
        host.run(code_plan(LEAVING), Group(), Inbox(), Learner())
    assert (caught.value.cause.category, caught.value.cause.code) == ("user", "code_exited")


FORGING = """
import json, os, struct
def forge(kind, blob=b"", **header):
    text = json.dumps({"kind": kind, **header}).encode()
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket"):
                os.write(int(fd), struct.pack("!IQ", len(text), len(blob)) + text + blob)
        except OSError:
            pass
forge("metric", name="val_loss", step=1, value=0.0, at="2026-01-01T00:00:00+00:00")
forge("ended", step=20, seconds=0.0, stopped="cancel", final=None, best=None, version=9)
"""


def test_a_forged_end_is_no_end() -> None:
    with nothing_left(), pytest.raises(TrainingError, match="a stop that nobody asked for") as caught:
        host.run(code_plan(FORGING + NET), Group(), Inbox(), Learner())
    assert caught.value.cause.category == "user"


def test_another_package_than_the_pinned_one_is_not_unpacked() -> None:
    plan = replace(code_plan(), package=b"another")
    with pytest.raises(BadInputError, match="not the one that was submitted"):
        host.run(plan, Group(), Inbox(), Learner())
