"""What there is to compute with: the processor's cores and main memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil


def threads() -> int:
    """Physical cores that this process may use: a second thread on a core only slows llama.cpp down."""
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


def main_memory() -> tuple[int, int]:
    """Bytes of main memory that can be had without swapping, and in all."""
    found = psutil.virtual_memory()
    return int(found.available), int(found.total)
