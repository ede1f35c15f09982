"""`python -m workers.probe [RAY_ADDRESS [CODE]]`: what torch, the GPUs, Ray and the kernel say, as lines of JSON.

A process of its own for `warpadam doctor`: importing takes seconds, and a broken driver may end the process.
"""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Finding = dict[str, Any]


def _finding(name: str, status: str, message: str, advice: str = "") -> Finding:
    return {"name": name, "status": status, "message": message, "advice": advice}


def devices(gpus_of_driver: list[str]) -> Iterator[Finding]:
    import torch

    yield _finding("torch", "ok", f"{torch.__version__} computes")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        total = float(torch.ones(8, device="cuda").sum())  # a device that is listed may still not compute
        assert total == 8
        yield _finding("gpu", "ok", f"{len(names)} for CUDA {torch.version.cuda}: {', '.join(names)}")
    elif gpus_of_driver:
        listed = ", ".join(gpus_of_driver)
        why = "this torch is built without CUDA" if torch.version.cuda is None else "the driver is too old for it"
        advice = "install a CUDA wheel of torch (make … TORCH_INDEX=), or a newer driver"
        yield _finding("gpu", "problem", f"nvidia-smi lists {listed}; torch sees none: {why}", advice)
    else:
        yield _finding("gpu", "ok", "none: jobs train on CPUs")


def gpus_of_driver() -> list[str]:
    """Names as the driver gives them; empty without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return [line.strip() for line in said.stdout.splitlines() if line.strip()] if said.returncode == 0 else []


def cluster(address: str) -> Iterator[Finding]:
    import ray

    yield _finding("ray", "ok", f"{ray.__version__} loads")
    if not address:
        return
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        ray.shutdown()
    except Exception as error:  # Ray has many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = "the same RAY_AUTH_MODE, RAY_AUTH_TOKEN, Ray and Python here and there?"
        yield _finding("ray cluster", "problem", f"{address} cannot be joined: {reason[:300]}", advice)
        return
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    yield _finding("ray cluster", "ok", f"{address} can be joined: {cpus:g} CPUs, {gpus:g} GPUs")


_TRY = {
    "landlock": "import sys; from pathlib import Path; from workers.code import confine\n"
    "folder = Path(sys.argv[1]); confine.confine(folder / 'home', folder / 'home')\n"
    "try:\n    (folder / 'outside').read_bytes()\n"
    "except PermissionError: raise SystemExit(0)\n"
    "raise SystemExit('it was set, and files can be read all the same')",
    "seccomp": "import socket; from workers.code import seccomp\n"
    "if not seccomp.refuse_sockets(): raise SystemExit('the kernel takes no filter of system calls here')\n"
    "try:\n    socket.socket(); raise SystemExit('it was set, and sockets can be opened all the same')\n"
    "except PermissionError: pass",
}
"""Programs that confine themselves as user code is, and look whether that holds: it cannot be undone."""


def confinement(code: str) -> Iterator[Finding]:
    """`code`: `required`, `preferred`, or `off` where no user code is run, and it matters to nobody."""
    for name, program in _TRY.items():
        with tempfile.TemporaryDirectory(prefix="warpadam-") as folder:
            (Path(folder) / "home").mkdir()
            (Path(folder) / "outside").write_bytes(b"")
            command = [sys.executable, "-c", program, folder]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if ran.returncode == 0:
            yield _finding(name, "ok", "confines user code here")
            continue
        why = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1][:200]
        message = f"does not work on this machine: {why}"
        if code == "off":
            yield _finding(name, "ok", f"{message}; no user code is run")
            continue
        status = "problem" if code == "required" and name == "landlock" else "warning"
        yield _finding(name, status, message, "run user code on nodes with Linux 5.13 or later; see docs/code.md")


def main() -> None:
    given = sys.argv[1:]
    address, code = given[0] if given else "", given[1] if len(given) > 1 else "off"
    for finding in (*devices(gpus_of_driver()), *cluster(address), *confinement(code)):
        sys.stdout.write(json.dumps(finding) + "\n")


if __name__ == "__main__":
    main()
