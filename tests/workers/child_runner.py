"""A real program for the launchers' tests: takes the runner's arguments, and does what its job is called, or
what WA_TEST_DOES says.

`exit-3` ends with code 3; `done` ends and the program can go on (`done-litter` leaves a child);
`sleep` ends at SIGTERM; `deaf` and its child ignore SIGTERM. It notes each start in the
folder that WA_TEST_FOLDER names: a file `<job>-<attempt>` with the lines `pid token`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from workers.waiting import Ran, wait_for_attempts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--job")
    parser.add_argument("--attempt", type=int)
    parser.add_argument("--token", type=int)
    options = parser.parse_args()
    if options.wait:
        wait_for_attempts(lambda told: run(told.job, told.attempt, told.token))
    else:
        run(options.job, options.attempt, options.token)


def run(job: str, attempt: int, token: int) -> Ran:
    does = os.environ.get("WA_TEST_DOES", job)
    if does.startswith("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # inherits the deafness
    with (Path(os.environ["WA_TEST_FOLDER"]) / f"{job}-{attempt}").open("a") as notes:
        notes.write(f"{os.getpid()} {token}\n")
    sys.stdout.write(f"runs {job}\n")
    sys.stdout.flush()
    if does.startswith("exit-"):
        sys.exit(int(does.removeprefix("exit-")))
    if does == "done-litter":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if does == "slow-done":
        time.sleep(0.5)
    if does.startswith(("done", "slow-done")):
        return Ran(0, reusable=True)
    time.sleep(600)
    return Ran(0, reusable=False)


if __name__ == "__main__":
    main()
