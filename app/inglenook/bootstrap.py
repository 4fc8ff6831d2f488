"""The only place that constructs the big objects and hands them to each other.

Each is made when it is first asked for, so that `ask` opens no database and `doctor` starts no engine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from platformdirs import PlatformDirs

from inglenook import long_jobs
from inglenook.chat.ahead import WorkAhead
from inglenook.chat.power import on_battery
from inglenook.chat.service import ChatService
from inglenook.core import fitting, i18n, logs
from inglenook.core.awake import Awake
from inglenook.core.errors import UserError
from inglenook.core.inference import InferenceService
from inglenook.core.memory import Device, Machine, Plan, of_size, published
from inglenook.core.paths import Paths, resources
from inglenook.core.settings import (
    AHEAD,
    ALLOW_NETWORK,
    BATTERY_THREADS,
    GPU,
    HUB_ADDRESS,
    KEEP_AWAKE,
    KEEP_STATES,
    SLEEP,
    Settings,
)
from inglenook.engine import machine
from inglenook.engine.client import EngineClient, describe
from inglenook.engine.saved_names import forget_all
from inglenook.library.catalogue import ENTRIES, Entry, Format
from inglenook.library.files.found import places
from inglenook.library.files.moved import Moved
from inglenook.library.remote.access_token import AccessToken
from inglenook.library.remote.downloads import Downloads
from inglenook.library.remote.hub import HUB, Hub
from inglenook.library.remote.network import Network
from inglenook.library.remote.traffic import Traffic
from inglenook.library.service import ModelService
from inglenook.library.shelf import Shelf
from inglenook.store.repository import SqliteStore


def user_paths() -> Paths:
    """The folders of this user; all below $INGLENOOK_HOME where that is set (tests, a portable stick)."""
    if home := os.environ.get("INGLENOOK_HOME"):
        base = Path(home).absolute()
        return Paths(base / "data", base / "config", base / "cache", base / "logs", base / "run")
    dirs = PlatformDirs("Inglenook" if os.name == "nt" else "inglenook", appauthor=False)
    return Paths(
        dirs.user_data_path,
        dirs.user_config_path,
        dirs.user_cache_path,
        dirs.user_log_path,
        _runtime(dirs),
    )


def _runtime(dirs: PlatformDirs) -> Path:
    """The system's folder for sockets; on a Linux without one (su, ssh, containers) a folder among the caches."""
    if sys.platform.startswith("linux") and not os.environ.get("XDG_RUNTIME_DIR"):
        return dirs.user_cache_path / "run"
    return dirs.user_runtime_path


class Services:
    """The program's parts, made on first use. `model` is a file for this run alone; `name` names the log."""

    def __init__(self, model: Path | None = None, name: str = "inglenook", entries: Sequence[Entry] = ENTRIES) -> None:
        self._model = model
        self._entries = entries
        self.paths = user_paths()
        self.paths.create()
        logs.start(self.paths.logs, name)
        i18n.install(resources() / "translations")

    @cached_property
    def settings(self) -> Settings:
        """What the user has set."""
        return Settings(self.paths.settings)

    @cached_property
    def inference(self) -> InferenceService:
        """The engine, started by the first request."""
        self.settings.subscribe_writes(self._forget_states)
        return EngineClient(
            self.paths.runtime,
            self.paths.logs,
            states=self.paths.states,
            sleep_after=lambda: 60.0 * self.settings.get(SLEEP),
            spares=lambda: self.settings.get(BATTERY_THREADS) == "half" and on_battery(),
        )

    def _forget_states(self, _: OSError | None) -> None:
        """Where chats are not to go on from the disk, nothing of them stays there."""
        if not self.settings.get(KEEP_STATES):
            with suppress(OSError):  # the next change of a setting does it
                forget_all(self.paths.states)

    @cached_property
    def awake(self) -> Awake:
        """What keeps the machine from sleeping while a long job runs."""
        return Awake(lambda: self.settings.get(KEEP_AWAKE))

    @cached_property
    def models(self) -> ModelService:
        """The chosen model."""
        models = ModelService(self.inference, self.settings, self.paths, self._model, self._moved)
        models.subscribe(long_jobs.of_model(self.awake))
        return models

    @cached_property
    def network(self) -> Network:
        """The only way out, with its switch and its list of requests."""
        traffic = Traffic(self.paths.data / "network.jsonl")
        return Network(traffic, self._is_network_allowed)

    def _is_network_allowed(self) -> bool:
        """Also a switch that another window or command has turned counts, within a second."""
        self.settings.look_now_and_then()
        return self.settings.get(ALLOW_NETWORK)

    @cached_property
    def token(self) -> AccessToken:
        """The user's access token for the Hub."""
        return AccessToken(self.settings)

    @cached_property
    def shelf(self) -> Shelf:
        """Models to get, and those that are here."""

        def hub() -> Hub:
            return Hub(self.network, self.settings.get(HUB_ADDRESS) or HUB, self.token.get())

        downloads = Downloads(self.paths.models, hub)
        downloads.subscribe(long_jobs.of_downloads(self.awake))
        shelf = Shelf(
            self.models,
            downloads,
            self.network.traffic,
            self.settings,
            self.paths.models,
            self._estimate,
            lambda: places(Path.home(), os.environ, sys.platform),
            self._entries,
            self._moved,
        )
        shelf.subscribe(long_jobs.of_shelf(self.awake))
        return shelf

    @cached_property
    def _moved(self) -> Moved:
        """Where models are that people moved."""
        return Moved(self.paths.models)

    def _estimate(self, entry: Entry) -> Plan:
        """How a model of the catalogue would be loaded here. Raises `UserError` where there is not enough memory."""
        available, total = machine.main_memory()
        here = Machine(available, total, machine.threads(), self._devices)
        wish = fitting.Wish(gpu_layers=-1 if self.settings.get(GPU) else 0)
        header = published(entry.layers, entry.experts)
        if entry.format is Format.GGUF:  # of a checkpoint the converter makes just that
            header = of_size(header, entry.size)
        return fitting.estimate(header, here, wish)

    @cached_property
    def _devices(self) -> tuple[Device, ...]:
        """Told by an engine of a moment's life, so that no program but that one wakes a graphics processor."""
        return tuple(Device(**device) for device in describe(None)["devices"])

    @cached_property
    def store(self) -> SqliteStore:
        """The conversations."""
        return SqliteStore(self.paths.database)

    @cached_property
    def chat(self) -> ChatService:
        """Conversations with the model."""
        wanted = self.settings.get
        ahead = WorkAhead(
            self.inference,
            lambda: wanted(AHEAD) == "always" or (wanted(AHEAD) == "mains" and not on_battery()),
            lambda: wanted(KEEP_STATES),
        )
        chat = ChatService(self.store, self.inference, self.models, self.settings, ahead=ahead)
        chat.subscribe(long_jobs.of_chat(self.awake))
        return chat

    def close(self) -> None:
        """Ends what was made, in the order of use. Running answers are stored first."""
        for name in ("chat", "shelf", "models", "inference", "store", "awake"):
            if name in self.__dict__:
                getattr(self, name).close()
        if "settings" in self.__dict__:
            with suppress(OSError):  # it is in the log, and was told when it happened
                self.settings.flush()


def run_window(services: Services) -> int:
    """Opens the window and returns the program's exit code. Qt is imported here, so that the rest needs none."""
    services.models.start()  # the engine starts in its own process while this one imports Qt
    from inglenook.ui.app import refuse, run

    try:
        chat = services.chat
    except UserError as error:
        return refuse(error.info)
    services.shelf.start()
    parts = (chat, services.models, services.shelf, services.token, services.settings, services.paths)
    return run(*parts, services.store.notices)
