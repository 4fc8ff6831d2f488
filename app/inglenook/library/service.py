"""The model in use: chosen by the user, prepared (the demo is converted on first use), loaded ahead of use.

One worker thread does what takes time; every change is told to the listeners as a `ModelStatus`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import Finished, Loading, StopReason
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import Cancelled, EngineState, EngineStatus, Generation, InferenceService, ModelSpec
from inglenook.core.paths import Paths
from inglenook.core.settings import CONTEXT, GPU, MODEL_FILE, Settings
from inglenook.library.demo import ensure_demo
from inglenook.library.events import ModelState, ModelStatus

_COMES_BACK = (ModelState.READY, ModelState.ASLEEP, ModelState.CRASHED)


class ModelService:
    """Offers `core.inference.ModelSource` to chat, and status and choice to people.

    `only` is a file for this run alone (`--model FILE`): it is not remembered.
    """

    def __init__(self, inference: InferenceService, settings: Settings, paths: Paths, only: Path | None = None) -> None:
        self._inference = inference
        self._settings = settings
        self._paths = paths
        self._only = only
        self._changed = threading.Condition()
        self._listeners: list[Callable[[ModelStatus], None]] = []
        self._status = ModelStatus(ModelState.NONE)
        self._file: Path | None = None
        self._choice = 0  # counts choices: work for an older one is dropped
        self._loading: Generation | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._unsubscribe = inference.subscribe(self._on_engine)

    # -- for people --

    def start(self) -> None:
        """Prepares and loads the chosen model ahead of the first message."""
        self._choose()

    def use_file(self, path: Path) -> None:
        """Chooses a GGUF file, now and at later starts."""
        self._only = None
        self._settings.set(MODEL_FILE, str(path.absolute()))
        self._choose()

    def use_demo(self) -> None:
        """Chooses the demo model, now and at later starts."""
        self._only = None
        self._settings.set(MODEL_FILE, "")
        self._choose()

    def retry(self) -> None:
        """Tries the chosen model again after a failure or crash."""
        self._choose()

    def cancel(self) -> None:
        """Stops preparing or loading."""
        with self._changed:
            self._choice += 1
            loading = self._loading
        if loading is not None:
            loading.cancel()
        self._update(lambda now: replace(now, state=ModelState.NONE, fraction=0.0))

    def status(self) -> ModelStatus:
        """As it is now."""
        return self._status

    def subscribe(self, listener: Callable[[ModelStatus], None]) -> Callable[[], None]:
        """Calls `listener` at each change, on a worker thread; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def close(self) -> None:
        """Stops what runs and waits for the thread."""
        self._unsubscribe()
        with self._changed:
            self._choice += 1
            loading = self._loading
            self._changed.notify_all()
        if loading is not None:
            loading.cancel()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(10)

    # -- for chat (core.inference.ModelSource) --

    def known(self) -> ModelSpec | None:
        """See `ModelSource.known`."""
        file = self._file
        return self._spec(file) if file is not None else None

    def spec(self, cancelled: Callable[[], bool]) -> ModelSpec:
        """See `ModelSource.spec`."""
        if self._status.state in (ModelState.NONE, ModelState.FAILED):
            self._choose()
        with self._changed:
            while self._file is None and self._status.state is not ModelState.FAILED:
                if cancelled():
                    raise Cancelled
                self._changed.wait(0.1)
            if self._file is None:
                assert self._status.error is not None
                raise UserError.of(self._status.error)
            return self._spec(self._file)

    # -- the worker --

    def _choose(self) -> None:
        with self._changed:
            self._choice += 1
            choice = self._choice
            self._file = None
            previous = self._loading
            self._update(lambda now: replace(now, state=ModelState.PREPARING, fraction=0.0, error=None, info=None))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="model", daemon=True)
                self._thread.start()
        if previous is not None:
            previous.cancel()
        self._jobs.put(lambda: self._prepare(choice))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _prepare(self, choice: int) -> None:
        def stale() -> bool:
            return choice != self._choice

        if stale():
            return
        chosen = self._only or (Path(name) if (name := self._settings.get(MODEL_FILE)) else None)
        title = chosen.stem if chosen else tr(N_("Demo model"))
        self._update(lambda _: ModelStatus(ModelState.PREPARING, title, is_demo=chosen is None), choice)
        try:
            file = chosen or self._prepare_demo(choice, stale)
        except Cancelled:
            return
        except UserError as error:
            self._fail(error.info, choice)
            return
        spec = self._spec(file)
        with self._changed:
            if stale():
                return
            self._file = file
            self._update(lambda now: replace(now, state=ModelState.LOADING, fraction=0.0, spec=spec), choice)
            self._loading = generation = self._inference.load(spec)
        for event in generation:
            if isinstance(event, Loading):
                self._update(lambda now, f=event.fraction: replace(now, fraction=f), choice)  # type: ignore[misc]
            elif isinstance(event, Finished) and event.reason is StopReason.FAILED:
                assert event.error is not None
                self._fail(event.error, choice)
        with self._changed:
            self._loading = None

    def _prepare_demo(self, choice: int, stale: Callable[[], bool]) -> Path:
        def progress(fraction: float) -> None:
            self._update(lambda now: replace(now, fraction=fraction), choice)

        try:
            return ensure_demo(self._paths.cache, progress, stale)
        except OSError as error:
            raise UserError(
                N_("The demo model could not be written to {folder}: {reason}. Make room there and try again."),
                folder=self._paths.cache,
                reason=error.strerror or error,
            ) from error

    def _on_engine(self, engine: EngineStatus) -> None:
        """The engine's own news: a crash, a load by a generation, readiness."""

        def change(now: ModelStatus) -> ModelStatus | None:
            model = engine.model
            if now.spec is None or (model is not None and model.spec != now.spec):
                return None
            if engine.state is EngineState.READY and model is not None:
                return ModelStatus(
                    ModelState.READY, model.name or now.title, 1.0, is_demo=model.is_demo, spec=now.spec, info=model
                )
            if engine.state is EngineState.CRASHED and now.state is not ModelState.FAILED:
                return replace(now, state=ModelState.CRASHED, error=engine.error)
            if engine.state is EngineState.OFF and now.state is ModelState.READY:
                return replace(now, state=ModelState.ASLEEP)
            if engine.state is EngineState.LOADING and now.state in _COMES_BACK:
                return replace(now, state=ModelState.LOADING, fraction=engine.fraction, error=None)
            return None

        self._update(change)

    def _spec(self, file: Path) -> ModelSpec:
        return ModelSpec(str(file), self._settings.get(CONTEXT), -1 if self._settings.get(GPU) else 0)

    def _fail(self, error: ErrorInfo, choice: int) -> None:
        with self._changed:
            if choice == self._choice:
                self._file = None
        self._update(lambda now: replace(now, state=ModelState.FAILED, error=error, fraction=0.0), choice)

    def _update(self, change: Callable[[ModelStatus], ModelStatus | None], choice: int | None = None) -> None:
        """Changes the status and tells the listeners, in one step, so that they hear the changes in their order.

        Nothing happens if `choice` is an older one or `change` returns None.
        """
        with self._changed:
            if choice is not None and choice != self._choice:
                return
            status = change(self._status)
            if status is None or status == self._status:
                return
            self._status = status
            self._changed.notify_all()
            for listener in tuple(self._listeners):
                listener(status)
