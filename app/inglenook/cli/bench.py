"""`inglenook bench FILE`: the speed of a model file, of the C calls alone and of the whole way to this process."""

from __future__ import annotations

import argparse
import json
import sys

from inglenook.cli.services import Services
from inglenook.cli.terminal import INTERRUPTED, StatusLine, write
from inglenook.core.i18n import N_, tr
from inglenook.engine import bench
from inglenook.engine.client import EngineClient


def run(services: Services, arguments: argparse.Namespace) -> int:
    """Prints one JSON object; returns the exit code. On Ctrl-C nothing is printed but a sentence on standard error."""
    client = services.inference
    assert isinstance(client, EngineClient), "the C calls alone are timed by our own engine"
    status = StatusLine(sys.stderr)

    def progress(done: int) -> None:
        if done < 0:
            status.show(tr(N_("Warming up...")))
        else:
            status.show(tr(N_("Pair {number} of {count}"), number=done + 1, count=arguments.pairs))

    try:
        status.show(tr(N_("Preparing the model...")))
        found = bench.run(
            client,
            services.models.spec(lambda: False),
            prefill=arguments.prefill,
            decode=arguments.decode,
            repetitions=arguments.pairs,
            progress=progress,
        )
    except KeyboardInterrupt:
        status.clear()
        print(tr(N_("Stopped before the end, so there are no figures.")), file=sys.stderr)
        return INTERRUPTED
    finally:
        status.clear()
    write(sys.stdout, json.dumps(found, indent=2) + "\n")
    return 0
