"""The system-call filter, run by a small interpreter of classic BPF that knows nothing of how it was built."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.errors import SandboxUnavailable
from venturalitica_agent.sandbox import seccomp

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS


def run(program: bytes, arch: int, number: int, argument: int = 0) -> int:
    """What the kernel would return for one call; `struct seccomp_data` as in linux/seccomp.h."""
    data = struct.pack("<IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    instructions = list(struct.iter_unpack("<HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, k = instructions[at]
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
            at += 1
        elif code == 0x06:
            return k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            at += 1 + (if_true if holds else if_false)


@pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", X86_64, 0), ("aarch64", AARCH64, 1)])
def test_refused_calls_fail_and_everyday_calls_pass(machine, arch, column) -> None:
    program = seccomp.program(machine)
    for name, numbers in seccomp.REFUSED.items():
        if numbers[column] is not None:
            assert run(program, arch, numbers[column]) == EPERM, name
    for number in {"x86_64": (0, 1, 9, 39, 53, 59, 202, 257), "aarch64": (63, 64, 222, 172, 199, 221, 98, 56)}[machine]:
        assert run(program, arch, number) == seccomp.ALLOW


@pytest.mark.parametrize(("machine", "arch", "clone"), [("x86_64", X86_64, 56), ("aarch64", AARCH64, 220)])
def test_clone_makes_threads_and_processes_but_no_namespaces(machine, arch, clone) -> None:
    program = seccomp.program(machine)
    threads = 0x3D0F00  # what the C library passes for a new thread
    assert run(program, arch, clone, threads) == seccomp.ALLOW
    assert run(program, arch, clone, 17) == seccomp.ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(program, arch, clone, flag | 17) == EPERM
    assert run(program, arch, 435) == ENOSYS


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([X86_64, AARCH64, I386, 0]))
def test_foreign_architectures_die(number: int, arch: int) -> None:
    """A 32-bit, x32 or foreign call never gets past the filter by having another number there."""
    foreign = arch != X86_64 or number >= 0x40000000
    outcome = run(seccomp.program("x86_64"), arch, number)
    assert (outcome == seccomp.KILL_PROCESS) == foreign


def test_numbers_are_those_of_the_kernel_headers() -> None:
    """Checked where the headers are installed; the pairs that all architectures share hold everywhere."""
    headers = {0: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 1: "/usr/include/asm-generic/unistd.h"}
    for column, header in headers.items():
        if not Path(header).exists():
            continue
        pairs = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
        official = {name: int(number) for name, number in pairs}
        for name, numbers in seccomp.REFUSED.items():
            assert numbers[column] == official.get(name), name
    for name, (first, second) in seccomp.REFUSED.items():
        assert first == second or first < 424, f"{name}: numbers from 424 on are the same everywhere"


def test_unknown_machine_has_no_sandbox() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.program("riscv64")
