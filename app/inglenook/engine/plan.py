"""How a model is to be loaded on this machine: threads, repacking, context length. Rules of thumb, with their reasons.

Figures for the 20b model are in bytes measured with llama.cpp: 2 KiB of cache a token and layer, half of the layers
keep the window only; about 0.4 GiB of compute buffers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

GIB = 1 << 30
RESERVE = 2 * GIB  # left to the system and other programs
SMALLEST = 8192  # a context that a chat with reasoning needs, whatever the memory
_SMALL = 64 << 20
_STEPS = (131072, 98304, 65536, 49152, 32768, 24576, 16384, 12288, SMALLEST)


def threads(file_bytes: int) -> int:
    """Physical cores that this process may use: a second thread on a core only slows llama.cpp down.

    For a model as small as the demo one: its steps are done before other threads wake, and waiting for those stalls it
    where the machine is busy.
    """
    if file_bytes < _SMALL:
        return 1
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(logical, _physical_cores() or max(1, logical // 2)))


def _physical_cores() -> int:
    """0 if unknown."""
    if sys.platform == "linux":
        cores = set()
        for topology in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
            try:
                names = ("physical_package_id", "core_id")
                cores.add(tuple((topology / name).read_text().strip() for name in names))
            except OSError:
                return 0
        return len(cores)
    if sys.platform == "darwin":
        import ctypes

        value, size = ctypes.c_int(0), ctypes.c_size_t(4)
        libc = ctypes.CDLL(None)
        for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):  # performance cores, where there are two kinds
            if libc.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0) == 0 and value.value > 0:
                return value.value
    return 0


def available_memory(fallback: int) -> int:
    """Bytes of main memory that can be had without swapping; `fallback` where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return fallback


def repack(file_bytes: int, available: int) -> bool:
    """Whether to copy the weights into the CPU's faster layout.

    For the 20b model: 1.37 times the speed for 9.7 GB that are not shared with the file. Only where the file stays in
    memory beside it: else the system would drop and read it again and again.
    """
    return available >= 2 * file_bytes + RESERVE


def context_length(wanted: int, trained: int, bytes_per_token: int, free: int, model_bytes: int) -> int:
    """Tokens of context: `wanted` up to what the model was made for; for 0 the longest whose cache fits in `free`.

    And is not out of proportion to the model: a third of its size, which for the 20b model is its full length.
    """
    if wanted > 0:
        return min(wanted, trained)
    most = min(free, max(model_bytes // 3, _SMALL // 4))
    for step in _STEPS:
        if step * bytes_per_token <= most:
            return min(step, trained)
    return min(SMALLEST, trained)
