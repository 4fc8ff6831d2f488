"""`python -m inglenook.engine`: the engine process; with --describe, what it finds on this machine, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from multiprocessing import freeze_support
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inglenook.core.inference import ModelSpec


def main(argv: list[str] | None = None) -> int:
    """Runs the engine until its last client is gone, or describes and returns the exit code."""
    freeze_support()
    parser = argparse.ArgumentParser("inglenook-engine")
    parser.add_argument("--runtime", type=Path, help="folder of the socket")
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--states", type=Path, help="folder of saved states; without it none are saved")
    parser.add_argument("--describe", action="store_true", help="print versions and devices as JSON")
    parser.add_argument("--model", help="with --describe: also how this model file would be loaded")
    parser.add_argument("--context", type=int, default=0, help="tokens of context wished for")
    parser.add_argument("--gpu-layers", type=int, default=-1)
    arguments = parser.parse_args(argv)
    if arguments.describe:
        from inglenook.core.inference import ModelSpec

        describe(ModelSpec(arguments.model, arguments.context, arguments.gpu_layers) if arguments.model else None)
        return 0
    if arguments.runtime is None or arguments.logs is None:
        parser.error("--runtime and --logs are needed")
    from inglenook.engine.launch import NO_MEMORY

    try:
        from inglenook.engine import host

        host.main(arguments.runtime, arguments.logs, arguments.states)
    except MemoryError:
        return NO_MEMORY
    return 0


def describe(model: ModelSpec | None) -> None:
    """Prints versions, the library's system information and the devices, and how `model` would be loaded."""
    from inglenook import __version__
    from inglenook.core.errors import UserError
    from inglenook.engine import llama, machine, memory, protocol
    from inglenook.engine.loaded import check_model_file

    llama.start()
    found: dict[str, Any] = {
        "inglenook": __version__,
        "protocol": protocol.VERSION,
        "python": sys.version.split()[0],
        **llama.versions(),
        "threads": machine.threads(),
        "devices": [asdict(d) for d in llama.devices()],
        "machine": asdict(memory.this_machine()),
    }
    if model is not None:
        try:
            check_model_file(Path(model.path))
            found["plan"] = asdict(memory.plan_for(model))
        except UserError as error:
            found["plan"] = {"error": asdict(error.info)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    sys.exit(main())
