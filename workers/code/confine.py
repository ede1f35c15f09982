"""What a process that runs user code may reach, as far as the kernel can be told: nothing but what training needs.

Two layers. The environment is made from a short list of names, never inherited, so no key, password or token is in it
even at its start. Landlock (Linux 5.13 and later) takes away files, and by its newer versions signals, abstract
sockets and TCP; it binds children too, and cannot be undone. It also hides other processes: their environment, memory
and descriptors in /proc are refused to whoever is confined. A filter of system calls takes the other sockets.
"""

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.code import seccomp

KEPT = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "CUBLAS_WORKSPACE_CONFIG"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NCCL_DEBUG"),
)
"""Variables that are handed on: where programs and devices are, and how numbers are written."""
MAX_FILE = 2**30
"""Bytes of one file that user code writes."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_NO_NEW_PRIVILEGES, _DEATH_SIGNAL, _SUBREAPER = 38, 1, 36
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 15
_LOOK = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | _IOCTL
_FILES_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files each version of Landlock knows; version 5 and later 16."""
_TCP = 0b11
_SCOPES = 0b11
_SIZES = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16, 6: 24}

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt/nvidia", "/opt/rocm", "/sys", "/proc/driver")
_SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"),
    *("/etc/hosts", "/etc/hostname", "/etc/host.conf", "/etc/resolv.conf"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/devices", "/proc/filesystems", "/proc/sys/kernel"),
    *("/proc/sys/vm", "/proc/version", "/proc/modules"),
)
_OWN = ("auxv", "cgroup", "cmdline", "environ", "fd", "fdinfo", "maps", "mountinfo", "stat", "statm", "status")
"""Of /proc/self; not `net` and `task`, where the sockets of the whole machine are listed."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


class CannotConfineError(Exception):
    """This machine's kernel has no Landlock, or does not let it be used."""


def environment(home: Path, ours: Path) -> dict[str, str]:
    """What the process begins with. `home`: its own folder; `ours`: where our packages are."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ours), "PYTHONUNBUFFERED": "1"}
    return {**kept, **own, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}


def version() -> int:
    """Of this kernel's Landlock; 0: it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def confine(package: Path, home: Path) -> None:
    """From here on this thread, and all that it starts, reads programs, the package and its home, and writes its home.

    Signals and abstract sockets of others are out of its reach too, where the kernel's Landlock is new enough (6).
    Raises CannotConfineError.
    """
    found = version()
    if found == 0:
        raise CannotConfineError("its kernel has no Landlock, which Linux has since 5.13 where it is switched on")
    every = (1 << _FILES_BY_VERSION.get(found, 16)) - 1
    ruleset = _ruleset(found, every, tcp=False)
    try:
        own = [f"/proc/self/{name}" for name in _OWN]
        for path in (*_SYSTEM, *_SYSTEM_FILES, *own, *map(str, _libraries()), str(package)):
            _allow(ruleset, path, _LOOK & every)
        for path in (*_DEVICES, *_graphics()):
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _READ_DIR | _IOCTL) & every)
        _allow(ruleset, str(home), every & ~_IOCTL & ~_EXECUTE)
        _restrict(ruleset)
    finally:
        os.close(ruleset)


def cut_off() -> bool:
    """No new connection from here on, of whatever kind; whether the kernel can do all of that.

    Called when the workers of a group have found each other.
    """
    refused, found = seccomp.refuse_sockets(), version()
    if found < 4:
        return False
    ruleset = _ruleset(found, 0, tcp=True)
    try:
        _restrict(ruleset)
    finally:
        os.close(ruleset)
    return refused


def bound() -> None:
    """Limits of this process: no core file, no endless file; and it is the first to go where memory is short."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def die_with_parent(number: int) -> None:
    """The kernel sends this process the signal when its parent ends, however that happens."""
    _prctl(_DEATH_SIGNAL, number)


@contextmanager
def adopting() -> Iterator[None]:
    """Processes below this one become its children where their own parent ends, so that none gets away."""
    _prctl(_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(_SUBREAPER, 0)


def _libraries() -> Iterator[Path]:
    """Python's folders, and of our own only the packages: beside them there may be anything."""
    ours = Path(__file__).resolve().parents[2]
    yield from (ours / name for name in ("service", "warpadam", "workers"))
    python = {Path(path).resolve() for path in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    paths = {Path(path).resolve() for path in sys.path if path}
    yield from python | {path for path in paths if path not in (ours, Path.cwd())}


def _graphics() -> Iterable[str]:
    return [str(path) for pattern in ("nvidia*", "dri") for path in Path("/dev").glob(pattern)]


def _ruleset(found: int, files: int, *, tcp: bool) -> int:
    fields = (files, _TCP if tcp else 0, _SCOPES if not tcp and found >= 6 else 0)
    size = _SIZES.get(found, 24)
    attributes = struct.pack("<QQQ", *fields)[:size]
    return _checked(_libc().syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "landlock_create_ruleset")


def _allow(ruleset: int, path: str, rights: int) -> None:
    """What is not there needs no rule; of a plain file only the rights that files have."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = rights if os.path.isdir(path) else rights & _OF_FILES
        rule = struct.pack("<Qi", rights, descriptor)
        _checked(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), "landlock_add_rule")
    finally:
        os.close(descriptor)


def _restrict(ruleset: int) -> None:
    _prctl(_NO_NEW_PRIVILEGES, 1)
    _checked(_libc().syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise CannotConfineError(f"{what} failed: {os.strerror(number)}")
    return int(result)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
