"""A filter of system calls for the process that runs user code: no sockets, nothing that reaches into other processes.

Landlock knows TCP and abstract sockets; this closes what it does not: UDP, sockets with a path (Ray's own are such),
and the ring of io_uring, by which files and sockets are used without system calls. Calls of another architecture's
numbering are refused altogether. What was opened before works on.
"""

import ctypes
import errno
import platform
import struct
import sys

_NUMBERS = {
    "x86_64": (0xC000003E, 317, {"socket": 41, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311}),
    "aarch64": (0xC00000B7, 277, {"socket": 198, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271}),
}
"""By machine: its name for the kernel, the number of seccomp itself, and of what is refused."""
_EVERYWHERE = {"io_uring_setup": 425, "pidfd_getfd": 438}
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_SET_FILTER, _ALL_THREADS, _NO_NEW_PRIVILEGES = 1, 1, 38


def program(machine: str) -> bytes:
    """The filter as the kernel reads it."""
    name, _, calls = _NUMBERS[machine]
    refused = sorted([*calls.values(), *_EVERYWHERE.values()])
    steps = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 1, 0, name),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, len(refused) + 1, 0, _X32),
        *((_EQUAL, len(refused) - index, 0, number) for index, number in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def refuse_sockets() -> bool:
    """From here on, for all threads of this process and all that it starts; whether the kernel does that."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _NUMBERS:
        return False
    code = ctypes.create_string_buffer(program(machine))
    filter_ = struct.pack("@HP", (len(code) - 1) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), 0, 0, 0)
    result: int = libc.syscall(_NUMBERS[machine][1], _SET_FILTER, _ALL_THREADS, filter_)
    return result == 0
