"""`inglenook models` with a catalogue of one small model. usage: models_program.py FILE SIZE SHA256 ARGUMENT..."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tests.library.hub import COMMIT, REPOSITORY

from inglenook.bootstrap import Services
from inglenook.cli.main import main
from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile


def run() -> int:
    name, size, digest, *arguments = sys.argv[1:]
    files = (CatalogueFile(name, int(size), digest),)
    entry = replace(GPT_OSS_20B, repository=REPOSITORY, revision=COMMIT, files=files)

    def services(model: Path | None, verb: str) -> Services:
        return Services(model, verb, (entry,))

    return main(["models", *arguments], services)


if __name__ == "__main__":
    sys.exit(run())
