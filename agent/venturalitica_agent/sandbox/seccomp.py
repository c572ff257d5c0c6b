"""The system-call filter of the sandbox, as a classic BPF program built in plain Python.

A namespace hides what must not be seen; the filter takes away the kernel's less-walked paths (keys, BPF, io_uring,
mounting, tracing) that have let code out of namespaces before. It is a deny list: numerical libraries keep working
when the C library learns a new call.
"""

from __future__ import annotations

import os
import platform
import struct

from venturalitica_agent.errors import SandboxUnavailable

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
REFUSE = _ERRNO | 1  # EPERM
UNKNOWN = _ERRNO | 38  # ENOSYS: the C library then falls back to an older call that can be filtered

_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

# CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NEW_NAMESPACE = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000

# name: (x86_64, aarch64); None where the architecture has no such call
REFUSED: dict[str, tuple[int, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "fanotify_init": (300, 262),
    # keys
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # wide kernel surface
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "iopl": (172, None),
    "ioperm": (173, None),
    # every kind of socket; pairs within the process stay possible
    "socket": (41, 198),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def program(machine: str) -> bytes:
    """The filter for `machine` ("x86_64" or "aarch64"): `struct sock_filter` records, 8 bytes each.

    Calls of a foreign architecture (and of x32 on x86_64) kill the process; the calls of `REFUSED` and `clone` with
    a namespace flag fail with EPERM; `clone3`, whose flags a filter can't read, with ENOSYS. All else is allowed.

    Raises:
        SandboxUnavailable: for any other machine.
    """
    if machine not in _ARCHES:
        raise SandboxUnavailable(
            f"there is no system-call filter for the processor type {machine!r}",
            remedy="Run the agent on x86_64 or aarch64.",
        )
    column = 0 if machine == "x86_64" else 1
    code = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_EQUAL, _ARCHES[machine], 1, 0),
        _instruction(_RETURN, KILL_PROCESS),
        _instruction(_LOAD, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        code += [_instruction(_AT_LEAST, _X32_BIT, 0, 1), _instruction(_RETURN, KILL_PROCESS)]
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            code += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, REFUSE)]
    code += [
        _instruction(_EQUAL, _CLONE3[column], 0, 1),
        _instruction(_RETURN, UNKNOWN),
        _instruction(_EQUAL, _CLONE[column], 0, 3),
        _instruction(_LOAD, _OFFSET_ARG0),
        _instruction(_ANY_BIT, _NEW_NAMESPACE, 0, 1),
        _instruction(_RETURN, REFUSE),
        _instruction(_RETURN, ALLOW),
    ]
    return b"".join(code)


def open_program() -> int:
    """A new file descriptor from which bubblewrap reads this machine's filter; the caller closes it."""
    code = program(platform.machine())
    fd = os.memfd_create("seccomp")
    os.write(fd, code)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
