"""`inglenook bench FILE`: the speed of a model file, of the C calls alone and of the whole way to this process."""

from __future__ import annotations

import json
import sys

from inglenook.cli.services import Services
from inglenook.cli.terminal import write
from inglenook.engine import bench
from inglenook.engine.client import EngineClient


def run(services: Services) -> int:
    """Prints one JSON object; returns the exit code."""
    client = services.inference
    assert isinstance(client, EngineClient), "the C calls alone are timed by our own engine"
    found = bench.run(client, services.models.spec(lambda: False))
    write(sys.stdout, json.dumps(found, indent=2) + "\n")
    return 0
