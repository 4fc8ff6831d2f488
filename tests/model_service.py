"""The real choice of models on the real engine, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inglenook.core.paths import Paths
from inglenook.core.settings import Settings
from inglenook.engine.client import EngineClient
from inglenook.library.service import ModelService


@contextmanager
def model_service(folder: Path) -> Iterator[ModelService]:
    """Ends with its engine."""
    paths = Paths(*(folder / name for name in ("data", "config", "cache", "logs", "run")))
    paths.create()
    engine = EngineClient(paths.runtime, paths.logs)
    models = ModelService(engine, Settings(paths.settings), paths)
    yield models
    models.close()
    engine.close()
