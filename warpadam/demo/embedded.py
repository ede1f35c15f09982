"""A service of one's own: starts `python -m service serve`, and ends it and all that it started."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warpadam.sdk.errors import WarpAdamError

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0


@contextmanager
def embedded_service(data_dir: Path) -> Iterator[str]:
    """Yields the URL of a service on a free port, ready for jobs. Its output goes to `data_dir/serve.log`.

    It ends with this process however that dies: nobody else holds the other end of its standard input.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "serve.log"
    command = [sys.executable, "-m", "service", "serve", "--owned", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _wait_until_ready(process, data_dir / "service.json", log)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], announcement: Path, log: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if announcement.exists():
            said = json.loads(announcement.read_text(encoding="utf-8"))
            if said.get("pid") == process.pid:
                return str(said["url"])
        time.sleep(0.1)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise WarpAdamError("The service did not start. The end of its log:\n" + "\n".join(last))
