"""`python -m inglenook.engine`: the engine process; with --describe, what it finds on this machine, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from multiprocessing import freeze_support
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Runs the engine until its last client is gone, or describes and returns the exit code."""
    freeze_support()
    parser = argparse.ArgumentParser("inglenook-engine")
    parser.add_argument("--runtime", type=Path, help="folder of the socket")
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--states", type=Path, help="folder of saved states; without it none are saved")
    parser.add_argument("--describe", action="store_true", help="print versions and devices as JSON")
    arguments = parser.parse_args(argv)
    if arguments.describe:
        describe()
        return 0
    if arguments.runtime is None or arguments.logs is None:
        parser.error("--runtime and --logs are needed")
    from inglenook.engine import host

    host.main(arguments.runtime, arguments.logs, arguments.states)
    return 0


def describe() -> None:
    """Prints versions, the library's system information and the devices."""
    from inglenook import __version__
    from inglenook.engine import llama, plan, protocol

    llama.start()
    found = {
        "inglenook": __version__,
        "protocol": protocol.VERSION,
        "python": sys.version.split()[0],
        **llama.versions(),
        "threads": plan.threads(plan.GIB),
        "devices": [asdict(d) for d in llama.devices()],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    sys.exit(main())
