"""How tests end what they started: all of it, and saying what did not end by itself."""

import subprocess

import psutil

from tests.ending import end


def shell(script: str) -> subprocess.Popen[bytes]:
    """Once it has said that it is ready."""
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def test_who_ends_with_its_family_leaves_nothing() -> None:
    process = shell("sleep 61 & trap 'kill $!; exit 0' TERM; echo ready; wait")
    assert end([process], grace_s=5) == []
    assert process.returncode == 0


def test_what_is_left_is_named_and_ended() -> None:
    process = shell("sleep 62 & echo ready; wait")
    (child,) = psutil.Process(process.pid).children()
    assert end([process], grace_s=0.5) == ["sleep 62"]
    child.wait(5)


def test_who_does_not_hear_is_killed() -> None:
    process = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    end([process], grace_s=0.3)
    assert process.returncode == -9
