"""`inglenook doctor`: what a person (or a bug report) needs to know about this machine and installation."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from inglenook.cli.services import Services
from inglenook.cli.terminal import harmless
from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.fitting import parts
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import ModelSpec
from inglenook.core.memory import Use
from inglenook.core.settings import CONTEXT, GPU, MODEL_FILE
from inglenook.engine.client import describe

PACKAGES = ("inglenook", "llama-cpp-python", "PySide6-Essentials", "numpy")
"""Distributions whose versions are told."""


def memory() -> tuple[int, int] | None:
    """Total and available memory in bytes, or None where the system does not tell. Standard library only."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return parse_meminfo(Path("/proc/meminfo").read_text("ascii"))
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            total = int(_output("/usr/sbin/sysctl", "-n", "hw.memsize"))
            return total, parse_vm_stat(_output("/usr/bin/vm_stat"))
    if sys.platform == "win32":
        return _windows_memory()
    return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


def parse_meminfo(text: str) -> tuple[int, int] | None:
    """Total and available bytes from /proc/meminfo; None if either is missing."""
    found = {m[1]: int(m[2]) * 1024 for m in re.finditer(r"^(\w+):\s*(\d+) kB$", text, re.MULTILINE)}
    if "MemTotal" not in found or "MemAvailable" not in found:
        return None
    return found["MemTotal"], found["MemAvailable"]


def parse_vm_stat(text: str) -> int:
    """Available bytes from what macOS's vm_stat prints: free, inactive, speculative and purgeable pages."""
    size = re.search(r"page size of (\d+) bytes", text)
    if size is None:
        raise ValueError("no page size")
    kinds = r"^Pages (?:free|inactive|speculative|purgeable):\s*(\d+)\.$"
    return int(size[1]) * sum(int(pages) for pages in re.findall(kinds, text, re.MULTILINE))


def _windows_memory() -> tuple[int, int] | None:
    if sys.platform != "win32":
        return None
    # MEMORYSTATUSEX: two 32-bit fields (its own size, load in percent), then seven of 64 bits, total and free first.
    status = (ctypes.c_uint64 * 8)()
    ctypes.memmove(status, ctypes.byref(ctypes.c_uint32(64)), 4)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status[1]), int(status[2])


def versions() -> dict[str, str]:
    """Distribution name to version, '' where it is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def examine(services: Services, model: Path | None = None) -> dict[str, Any]:
    """Everything, as JSON has it; the plan is that of `model`, or of the file in the settings."""
    total, available = memory() or (None, None)
    paths = services.paths
    chosen = str(model or services.settings.get(MODEL_FILE))
    spec = None
    if chosen and Path(chosen).is_file():
        spec = ModelSpec(chosen, services.settings.get(CONTEXT), -1 if services.settings.get(GPU) else 0)
    engine = _engine(spec)
    plan = engine.pop("plan", None)
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "versions": versions(),
        "qt": importlib.util.find_spec("PySide6") is not None,
        "engine": engine,
        "memory": {"total_bytes": total, "available_bytes": available},
        "model": {"file": chosen or None, "present": Path(chosen).is_file() if chosen else None},
        "plan": plan and _in_words(plan),
        "paths": {name: str(getattr(paths, name)) for name in ("data", "config", "cache", "logs", "runtime")},
    }


def _in_words(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with its sentences in the user's language."""

    def text(info: dict[str, Any] | None) -> str | None:
        return ErrorInfo(info["template"], tuple((k, v) for k, v in info["arguments"])).text() if info else None

    if "error" in plan:
        return {"error": text(plan["error"])}
    sentences = {name: text(plan[name]) for name in ("why", "warning")}
    return {**plan, **sentences, "not_tried": [text(info) for info in plan["not_tried"]]}


def _engine(model: ModelSpec | None) -> dict[str, Any]:
    """As the engine tells it; a library that does not start is a finding, not the end of the examination."""
    try:
        return describe(model)
    except UserError as error:
        return {"error": str(error), "devices": []}


def run(services: Services, *, as_json: bool, model: Path | None = None) -> int:
    """Prints it; returns the exit code."""
    found = examine(services, model)
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    for title, value in _rows(found):
        print(harmless(f"{title:22} {value}"))
    return 0


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    def gigabytes(size: int | None) -> str:
        return tr(N_("{size} GB"), size=f"{size / 1e9:.1f}") if size is not None else tr(N_("unknown"))

    missing = tr(N_("not installed"))
    model = found["model"]
    if model["file"] is None:
        chosen = tr(N_("Demo model"))
    elif model["present"]:
        chosen = model["file"]
    else:
        chosen = tr(N_("{file} (missing)"), file=model["file"])
    memory_now = found["memory"]
    return [
        (tr(N_("System")), f"{found['system']} ({found['machine']})"),
        ("Python", f"{found['python']['version']}  {found['python']['executable']}"),
        *((name, version or missing) for name, version in found["versions"].items()),
        *_engine_rows(found["engine"]),
        (tr(N_("Memory")), gigabytes(memory_now["total_bytes"])),
        (tr(N_("Memory available")), gigabytes(memory_now["available_bytes"])),
        (tr(N_("Model")), chosen),
        *_plan_rows(found["plan"]),
        (tr(N_("Conversations")), found["paths"]["data"]),
        (tr(N_("Settings")), found["paths"]["config"]),
        (tr(N_("Cache")), found["paths"]["cache"]),
        (tr(N_("Logs")), found["paths"]["logs"]),
        (tr(N_("Engine socket")), found["paths"]["runtime"]),
    ]


def _engine_rows(engine: dict[str, Any]) -> list[tuple[str, str]]:
    if "error" in engine:
        return [(tr(N_("Engine")), engine["error"])]
    rows = [
        ("llama.cpp", f"{engine['llama_cpp']}  {engine['system']}"),
        (tr(N_("Threads")), str(engine["threads"])),
    ]
    for device in engine["devices"]:
        rows.append((tr(N_("Device")), f"{device['name']} ({device['kind']}): {device['description']}"))
    return rows


def _plan_rows(plan: dict[str, Any] | None) -> list[tuple[str, str]]:
    """How the model would be loaded, and what it would take."""
    if plan is None:
        return []
    if "error" in plan:
        return [(tr(N_("Plan")), plan["error"])]
    choice = plan["choice"]
    rows = [
        (tr(N_("Plan")), plan["why"]),
        (tr(N_("Context window")), f"{choice['n_ctx']} ({choice['cache_type']})"),
        (tr(N_("Threads")), str(plan["threads"])),
    ]
    rows += [(tr(N_("Memory of {device}"), device=use["device"]), parts(Use(**use))) for use in plan["uses"]]
    rows += [(tr(N_("Not tried")), text) for text in plan["not_tried"]]
    return rows + ([(tr(N_("Note")), plan["warning"])] if plan["warning"] else [])
