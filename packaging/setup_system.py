"""What a fresh machine lacks besides Python packages: shared libraries for Qt, a compiler, Python's venv module.

A library counts as present when the dynamic loader finds it, however it came there. Where we are root on Debian or a
relative of it, what is missing is installed; elsewhere the one line to type is printed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from setup_console import SetupError, Step, run_logged

# What PySide6-Essentials 6.11 links to and does not bring along (readelf -d on its libraries and the xcb, wayland and
# offscreen plugins), and the Debian package of each.
QT_LIBRARIES = (
    ("libEGL.so.1", "libegl1"),
    ("libGL.so.1", "libgl1"),
    ("libX11.so.6", "libx11-6"),
    ("libX11-xcb.so.1", "libx11-xcb1"),
    ("libdbus-1.so.3", "libdbus-1-3"),
    ("libfontconfig.so.1", "libfontconfig1"),
    ("libfreetype.so.6", "libfreetype6"),
    ("libglib-2.0.so.0", "libglib2.0-0"),
    ("libwayland-client.so.0", "libwayland-client0"),
    ("libwayland-cursor.so.0", "libwayland-cursor0"),
    ("libwayland-egl.so.1", "libwayland-egl1"),
    ("libxcb-cursor.so.0", "libxcb-cursor0"),
    ("libxcb-glx.so.0", "libxcb-glx0"),
    ("libxcb-icccm.so.4", "libxcb-icccm4"),
    ("libxcb-image.so.0", "libxcb-image0"),
    ("libxcb-keysyms.so.1", "libxcb-keysyms1"),
    ("libxcb-randr.so.0", "libxcb-randr0"),
    ("libxcb-render-util.so.0", "libxcb-render-util0"),
    ("libxcb-shape.so.0", "libxcb-shape0"),
    ("libxcb-xkb.so.1", "libxcb-xkb1"),
    ("libxkbcommon.so.0", "libxkbcommon0"),
    ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
)
TEST_TOOLS = ("strace",)  # programs that only tests use, in the packages of the same names
ENGINE_LIBRARIES = (("libgomp.so.1", "libgomp1"),)
_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")


def loads(soname: str) -> bool:
    """Whether the dynamic loader finds that library."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def has_font() -> bool:
    """Whether there is any scalable font: without one Qt draws no text at all."""
    return any(
        path.suffix.lower() in (".ttf", ".otf", ".ttc")
        for folder in _FONTS
        for path in Path(folder).expanduser().rglob("*")
    )


def missing_packages(
    libraries: Iterable[tuple[str, str]] = (*QT_LIBRARIES, *ENGINE_LIBRARIES),
    found: Callable[[str], bool] = loads,
    font: Callable[[], bool] = has_font,
) -> list[str]:
    """Debian packages of what is missing, sorted; empty on systems other than Linux."""
    if not sys.platform.startswith("linux"):
        return []
    packages = {package for soname, package in libraries if not found(soname)}
    if not font():
        packages.add("fonts-dejavu-core")
    return sorted(packages)


def missing_tools(found: Callable[[str], object] = shutil.which) -> list[str]:
    """Debian packages of programs that the tests use and that are not here; empty on systems other than Linux."""
    if not sys.platform.startswith("linux"):
        return []
    return [tool for tool in TEST_TOOLS if not found(tool)]


def typed_line(packages: Sequence[str]) -> str:
    """The line a person types to install `packages` on Debian or Ubuntu."""
    return f"sudo apt-get install -y --no-install-recommends {' '.join(packages)}"


def may_install() -> bool:
    """Whether we are root on a system with apt."""
    return sys.platform.startswith("linux") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str], log: Path) -> bool:
    """Installs with apt; False if that is not ours to do or did not work (then the line to type has been printed)."""
    if may_install():
        step = Step(f"Installing system packages ({', '.join(packages)})")
        if _apt_install(packages, log):
            step.done()
            return True
        step.failed()
        print(f"apt-get could not install them (see {log}). To try by hand:")
    elif shutil.which("apt-get"):
        print("Some system libraries are missing. To install them, type:")
    else:
        print(
            "Some system libraries are missing. On Debian they are in the packages of this line; find their like here:"
        )
    print(f"    {typed_line(packages)}", flush=True)
    return False


def _apt_install(packages: Sequence[str], log: Path) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = [
        "apt-get",
        "-q",
        "-o",
        "DPkg::Lock::Timeout=60",
        "-o",
        "Acquire::Retries=2",
        "-o",
        "Acquire::http::Timeout=20",
    ]
    wanted = [*apt, "install", "-y", "--no-install-recommends", *packages]
    lists = Path("/var/lib/apt/lists")
    if any(lists.glob("*_Packages*")) and run_logged(wanted, log, env=environment) == 0:
        return True
    # No package lists, or lists so old that their files are gone.
    run_logged([*apt, "update"], log, env=environment)
    return run_logged(wanted, log, env=environment) == 0


def require_venv(log: Path) -> None:
    """Debian keeps the part of `venv` that brings pip in a package of its own. Raises SetupError with the line."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if importlib.util.find_spec("ensurepip") is None and not install([package], log):
        raise SetupError(f"This Python cannot make virtual environments. Install the package {package} and try again.")


def require_compiler(log: Path) -> None:
    """llama.cpp is C++: raises SetupError with what to install if there is no compiler that we can name."""
    if sys.platform == "win32":
        return  # CMake finds Visual Studio by itself; if it does not, the build says so
    names = ((os.environ.get("CC"), "cc", "gcc", "clang"), (os.environ.get("CXX"), "c++", "g++", "clang++"))
    if all(any(name and shutil.which(name.split()[0]) for name in choices) for choices in names):
        return
    if sys.platform == "darwin":
        raise SetupError("llama.cpp has to be built and there is no C++ compiler. Type: xcode-select --install")
    if not install(["build-essential"], log):
        raise SetupError("llama.cpp has to be built and there is no C++ compiler. Install one and try again.")
