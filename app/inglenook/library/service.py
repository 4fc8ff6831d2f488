"""The model in use: chosen by the user, prepared (the demo is converted on first use), loaded ahead of use.

One worker thread does what takes time; every change is told to the listeners as a `ModelStatus`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import Finished, Loading, StopReason
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import (
    DEMO,
    Cancelled,
    EngineState,
    EngineStatus,
    Generation,
    InferenceService,
    ModelSpec,
)
from inglenook.core.paths import Paths
from inglenook.core.settings import CONTEXT, GPU, MODEL_FILE, Setting, Settings
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.files.moved import Moved
from inglenook.library.making.demo import ensure_demo

_COMES_BACK = (ModelState.READY, ModelState.ASLEEP, ModelState.CRASHED)


@dataclass(frozen=True, slots=True)
class _Before:
    """The model that is in use until another one stands, and what was chosen then."""

    name: str
    file: Path
    status: ModelStatus
    only: Path | None
    setting: str


class ModelService:
    """Offers `core.inference.ModelSource` to chat, and status and choice to people.

    `only` is a file for this run alone (`--model FILE`): it is not remembered. A model that was moved (`moved`) has
    its new path for a name; the old one stands for it.
    """

    def __init__(
        self,
        inference: InferenceService,
        settings: Settings,
        paths: Paths,
        only: Path | None = None,
        moved: Moved | None = None,
    ) -> None:
        self._inference = inference
        self._settings = settings
        self._paths = paths
        self._only = only
        self._moved = moved or Moved(paths.models)
        self._changed = threading.Condition()
        self._listeners: list[Callable[[ModelStatus], None]] = []
        self._status = ModelStatus(ModelState.NONE)
        self._name = ""  # of the model in use, or on its way to be
        self._file: Path | None = None
        self._demo: Path | None = None  # as it was prepared
        self._before: _Before | None = None
        self._choice = 0  # counts choices: work for an older one is dropped
        self._loading: Generation | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._unsubscribe = inference.subscribe(self._on_engine)
        settings.subscribe_elsewhere(self._on_elsewhere)

    # -- for people --

    def start(self) -> None:
        """Prepares and loads the chosen model ahead of the first message."""
        self._choose(self.chosen())

    def use_file(self, path: Path) -> None:
        """Chooses a GGUF file, now and at later starts. The model in use stays until it stands."""
        self._choose_for_good(str(path.absolute()))

    def use_demo(self) -> None:
        """Chooses the demo model, now and at later starts."""
        self._choose_for_good(DEMO)

    def retry(self) -> None:
        """Tries the model in use again after a failure or crash."""
        self._choose(self._name or self.chosen())

    def cancel(self) -> None:
        """Stops preparing or loading; the model that was in use before stays."""
        with self._changed:
            loading = self._loading
            if loading is None:
                self._choice += 1
            choice = self._choice
        if loading is not None:
            loading.cancel()  # its end tells: the engine may have to bring the old one back
        else:
            self._go_back(None, choice)

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

    def chosen(self) -> str:
        """See `ModelSource.chosen`."""
        if self._only is not None:
            return str(self._only.absolute())
        return self._moved.now(self._settings.get(MODEL_FILE)) or DEMO

    def answering(self, name: str) -> str:
        """The name of the model that answers a conversation which remembers `name`."""
        return self.chosen() if self._only or not name else self._moved.now(name)

    def known(self, name: str = "") -> ModelSpec | None:
        """See `ModelSource.known`."""
        name = self.answering(name)
        other = self._demo if name == DEMO else Path(name)
        file = self._file if name == self._name else other
        return self._spec(file) if file is not None else None

    def spec(
        self, cancelled: Callable[[], bool], name: str = "", loading: Callable[[float], None] | None = None
    ) -> ModelSpec:
        """See `ModelSource.spec`."""
        with suppress(OSError):
            self._moved.refresh()
        with self._changed:
            name = self.answering(name)
            switches = self._status.state is not ModelState.NONE and name != self._name
            if switches or self._status.state in (ModelState.NONE, ModelState.FAILED):
                self._choose(name)
            choice = self._choice
        told = -1.0
        while self._is_on_its_way(choice, switches):
            if cancelled():
                if switches:
                    self.cancel()
                raise Cancelled
            fraction = self._status.fraction
            if loading is not None and fraction != told:
                told = fraction
                loading(fraction)
            with self._changed:
                if self._is_on_its_way(choice, switches):
                    self._changed.wait(0.1)
        with self._changed:
            file, error = self._file, self._status.error
            if choice != self._choice or (error is None and (file is None or name != self._name)):
                raise Cancelled  # the user ended it, or wants another one
            if error is not None and (file is None or name != self._name):
                raise UserError.of(error)
            assert file is not None
            return self._spec(file)

    def _is_on_its_way(self, choice: int, switches: bool) -> bool:
        """Whether to wait for that choice: for its file, or until the model stands that is to replace another."""
        if choice != self._choice or self._status.state is ModelState.FAILED:
            return False
        return self._file is None or (switches and self._status.state in (ModelState.PREPARING, ModelState.LOADING))

    # -- the worker --

    def _choose_for_good(self, name: str) -> None:
        before = self._remembered()
        self._only = None
        self._settings.set(MODEL_FILE, "" if name == DEMO else name)
        self._choose(name, before)

    def _remembered(self) -> _Before | None:
        """What a load that fails leads back to: the model that is ready now, or was when the first of several began."""
        if self._status.state is ModelState.READY and self._file is not None:
            return _Before(self._name, self._file, self._status, self._only, self._settings.get(MODEL_FILE))
        return self._before

    def _choose(self, name: str, before: _Before | None = None) -> None:
        with self._changed:
            self._before = before or self._remembered()
            self._choice += 1
            choice = self._choice
            self._name, self._file = name, None
            previous = self._loading
            self._update(lambda now: ModelStatus(ModelState.PREPARING, now.title, is_demo=now.is_demo, name=name))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="model", daemon=True)
                self._thread.start()
        if previous is not None:
            previous.cancel()
        self._jobs.put(lambda: self._prepare(choice, name))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _prepare(self, choice: int, name: str) -> None:
        def stale() -> bool:
            return choice != self._choice

        if stale():
            return
        chosen = None if name == DEMO else Path(name)
        title = chosen.stem if chosen else tr(N_("Demo model"))
        self._update(lambda _: ModelStatus(ModelState.PREPARING, title, is_demo=chosen is None, name=name), choice)
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
        finished = Finished(StopReason.CANCELLED)
        for event in generation:
            if isinstance(event, Loading):
                self._update(lambda now, f=event.fraction: replace(now, fraction=f), choice)  # type: ignore[misc]
            elif isinstance(event, Finished):
                finished = event
        with self._changed:
            self._loading = None
        if finished.reason is StopReason.FAILED:
            assert finished.error is not None
            self._fail(finished.error, choice)
        elif finished.reason is StopReason.CANCELLED:
            self._go_back(None, choice)
        else:
            self._on_engine(self._inference.status(), choice)  # nothing was told of a model that was loaded already

    def _prepare_demo(self, choice: int, stale: Callable[[], bool]) -> Path:
        def progress(fraction: float) -> None:
            self._update(lambda now: replace(now, fraction=fraction), choice)

        try:
            self._demo = ensure_demo(self._paths.cache, progress, stale)
            return self._demo
        except OSError as error:
            raise UserError(
                N_("The demo model could not be written to {folder}: {reason}. Make room there and try again."),
                folder=self._paths.cache,
                reason=error.strerror or error,
            ) from error

    def _on_engine(self, engine: EngineStatus, choice: int | None = None) -> None:
        """The engine's own news: a crash, a load by a generation, readiness. Ignored if `choice` is an older one."""

        def change(now: ModelStatus) -> ModelStatus | None:
            model = engine.model
            if engine.state is EngineState.LOADING and now.state is ModelState.LOADING and self._before is not None:
                return replace(now, left="" if model is not None else self._before.status.title)
            if now.spec is None or (model is not None and model.spec != now.spec):
                return None
            if engine.state is EngineState.READY and model is not None:
                self._before = None
                title = model.name or now.title
                return ModelStatus(ModelState.READY, title, 1.0, model.is_demo, now.spec, model, name=now.name)
            if engine.state is EngineState.CRASHED and now.state is not ModelState.FAILED:
                return replace(now, state=ModelState.CRASHED, error=engine.error)
            if engine.state is EngineState.OFF and now.state is ModelState.READY:
                return replace(now, state=ModelState.ASLEEP)
            if engine.state is EngineState.LOADING and now.state in _COMES_BACK:
                return replace(now, state=ModelState.LOADING, fraction=engine.fraction, error=None)
            return None

        self._update(change, choice)

    def _on_elsewhere(self, setting: Setting[Any]) -> None:
        """Another program chose a model: what is in use stays, but it may not be what answers the next message."""
        if setting is MODEL_FILE:
            with self._changed:
                for listener in tuple(self._listeners):
                    listener(self._status)

    def _spec(self, file: Path) -> ModelSpec:
        return ModelSpec(str(file), self._settings.get(CONTEXT), -1 if self._settings.get(GPU) else 0)

    def _fail(self, error: ErrorInfo, choice: int) -> None:
        if not self._go_back(error, choice):
            with self._changed:
                if choice == self._choice:
                    self._file = None
            self._update(lambda now: replace(now, state=ModelState.FAILED, error=error, fraction=0.0, left=""), choice)

    def _go_back(self, error: ErrorInfo | None, choice: int) -> bool:
        """The model before is in use again, if the engine still has it; whether that is so. Without it there is none.

        Without `error` the user has ended the load.
        """
        engine = self._inference.status()
        with self._changed:
            before, self._before = self._before, None
            if choice != self._choice:
                return True
            there = engine.state is EngineState.READY and engine.model is not None
            if before is None or not there or engine.model is None or engine.model.spec != before.status.spec:
                if error is None:
                    self._update(lambda now: replace(now, state=ModelState.NONE, fraction=0.0, left=""), choice)
                return False
            self._name, self._file, self._only = before.name, before.file, before.only
            refused = self._status.title if error is not None else ""
            self._update(lambda _: replace(before.status, error=error, refused=refused), choice)
        self._settings.set(MODEL_FILE, before.setting)
        return True

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
