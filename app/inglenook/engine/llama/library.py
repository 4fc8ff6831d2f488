"""The library itself: its log, its versions, the devices that it has found."""

from __future__ import annotations

import ctypes
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as lib
from llama_cpp._ggml import libggml

from inglenook.core.memory import Device

_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}  # ggml.h, not llama_cpp's map
_log = logging.getLogger("llama.cpp")
_kept_alive: list[Any] = []  # callbacks that C holds
_BUFFER = re.compile(r" (\S+) +(model|KV|compute|output) buffer size = +([\d.]+) MiB")
buffers: list[Buffer] = []  # as the log tells of them: the library has no function for it


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that llama.cpp allocated: on which device, for what ("model", "KV", "compute", "output"), to 10 kB."""

    device: str
    kind: str
    nbytes: int


def start() -> None:
    """Initialises the library: its log goes to `logging`, also the message of an abort."""
    pending_level, pending = logging.INFO, ""

    def log(level: int, text: bytes, _data: object) -> None:
        nonlocal pending_level, pending
        pending_level = _LEVELS.get(level, pending_level)  # any other continues the line before
        pending += text.decode("utf-8", "replace")
        if pending.endswith("\n"):
            _log.log(pending_level, "%s", pending.rstrip())
            if found := _BUFFER.search(pending):
                buffers.append(Buffer(found[1], found[2], round(float(found[3]) * (1 << 20))))
            pending = ""

    def abort(message: bytes) -> None:
        _log.critical("aborts: %s", message.decode("utf-8", "replace").strip())

    on_log = lib.llama_log_callback(log)
    on_abort = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(abort)
    _kept_alive.extend((on_log, on_abort))
    lib.llama_log_set(on_log, ctypes.c_void_p(0))
    base = ggml_base()
    base.ggml_set_abort_callback.restype = ctypes.c_void_p
    base.ggml_set_abort_callback(on_abort)
    lib.llama_backend_init()


def ggml_base() -> ctypes.CDLL:
    """Finds libggml-base's functions: through libggml, which needs it; but Windows looks in the one library only.

    Elsewhere it must not be opened by name: wheels hold copies under several names, each with variables of its own.
    """
    if sys.platform == "win32":
        return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "ggml-base.dll"))
    return libggml  # type: ignore[no-any-return] # llama_cpp is untyped


def devices() -> tuple[Device, ...]:
    """What ggml's loaded backends offer."""
    base = ggml_base()
    count, get = libggml.ggml_backend_dev_count, libggml.ggml_backend_dev_get
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    name, text = base.ggml_backend_dev_name, base.ggml_backend_dev_description
    kind, memory = base.ggml_backend_dev_type, base.ggml_backend_dev_memory
    for function, result in ((name, ctypes.c_char_p), (text, ctypes.c_char_p), (kind, ctypes.c_int)):
        function.restype, function.argtypes = result, [ctypes.c_void_p]
    size = ctypes.c_size_t
    memory.restype, memory.argtypes = None, [ctypes.c_void_p, ctypes.POINTER(size), ctypes.POINTER(size)]
    found = []
    for i in range(count()):
        device, free, total = get(i), size(), size()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        label = {0: "cpu", 1: "gpu", 2: "igpu"}.get(kind(device), "accel")
        found.append(Device(name(device).decode(), text(device).decode(), label, free.value, total.value))
    return tuple(found)


def versions() -> dict[str, str]:
    """The library's versions and what its CPU code uses."""
    return {
        "llama_cpp_python": llama_cpp.__version__,
        "llama_cpp": lib.llama_version().decode() if hasattr(lib, "llama_version") else "",
        "system": lib.llama_print_system_info().decode("utf-8", "replace").strip(),
    }


def repacking_is_safe() -> bool:
    """False for a library built with Intel's AMX.

    Repacked weights use it, and a library built by GCC before 11.5, 12.4, 13.3 or 14 then dies of an illegal
    instruction (seen with 12.2; packaging/setup_llama.py builds without AMX for that reason).
    """
    return b"AMX_INT8 = 1" not in lib.llama_print_system_info()


def features() -> frozenset[str]:
    """What the CPU can do and the library uses, by the names that the library has for it ("AVX2")."""
    text = lib.llama_print_system_info().decode("utf-8", "replace")
    return frozenset(re.findall(r"(\w+) = 1\b", text))
