"""The program's entry: a command of the terminal, or the window."""

from __future__ import annotations

import argparse
import os
import sys
from multiprocessing import freeze_support
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inglenook.bootstrap import Services


def has_display() -> bool:
    """Whether a window can be opened (Qt aborts the process where it cannot)."""
    if sys.platform in ("win32", "darwin") or os.environ.get("QT_QPA_PLATFORM"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_services(model: Path | None, name: str) -> Services:
    """The program's parts (imported late, so that `--help` is quick). `name` is that of the log."""
    from inglenook.bootstrap import Services

    return Services(model, name)


def main(argv: list[str] | None = None) -> int:
    """Runs `inglenook [VERB] ...`; without a verb the window, or the terminal's chat where there is no display."""
    freeze_support()
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] == "--model":
        return window(arguments)
    from inglenook.cli.main import main as cli

    return cli(arguments, open_services)


def window(arguments: list[str]) -> int:
    """Opens the window; without a display says so and chats in the terminal, with the same engine and conversations."""
    parser = argparse.ArgumentParser("inglenook")
    parser.add_argument("--model", type=Path, metavar="FILE")
    model: Path | None = parser.parse_args(arguments).model
    if not has_display():
        from inglenook.cli.main import main as cli

        print("There is no display here, so Inglenook chats in the terminal.", file=sys.stderr)  # noqa: T201
        return cli(["chat", *arguments], open_services)
    from inglenook.bootstrap import run_window

    services = open_services(model, "inglenook")
    try:
        return run_window(services)
    finally:
        services.close()


if __name__ == "__main__":
    sys.exit(main())
