"""`python -m service.warden`: ends what a supervisor started, should the supervisor be killed.

It holds the other end of a pipe from the supervisor and the lock on the data folder. The supervisor writes a line
`<rank> <process group> <grace in seconds>` for each child it starts; the newest line of a rank counts. When the pipe
closes, for whatever reason, the groups are ended in order of rank, then all that carries the mark, then the temporary
folder goes. After a clean end there is nothing left to do. Portable where PR_SET_PDEATHSIG is not.
"""

import signal
import sys
from pathlib import Path
from typing import TextIO

from service.processes import end_groups, remove_folders, sweep


def read_groups(lines: TextIO) -> list[tuple[int, float]]:
    """Reads until the pipe closes; the groups by rank."""
    groups: dict[int, tuple[int, float]] = {}
    for line in lines:
        rank, group, grace = line.split()
        groups[int(rank)] = (int(group), float(grace))
    return [groups[rank] for rank in sorted(groups)]


def main(mark: str, folder: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_groups(read_groups(sys.stdin))
    sweep(mark)
    remove_folders([Path(folder)])


if __name__ == "__main__":
    main(*sys.argv[1:])
