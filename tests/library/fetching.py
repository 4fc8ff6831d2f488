"""What the tests of downloads share."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from tests.library.hub import LoopbackHub

from inglenook.library.control import Control
from inglenook.library.progress import Progress
from inglenook.library.remote.download import Download, Retry
from inglenook.library.remote.downloads import Downloads, DownloadStatus, State
from inglenook.library.remote.hub import Hub, RemoteFile
from inglenook.library.remote.network import Network
from inglenook.library.remote.traffic import Traffic

SOON = Retry(first=0.01, longest=0.05, attempts=5)
TOKEN = "hf_this_is_a_secret"


def some_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


class Client:
    """One user's side: a folder, a list of requests, a switch."""

    def __init__(self, folder: Path, hub: LoopbackHub, token: str | None = None) -> None:
        self.folder = folder
        self.allowed = True
        self.traffic = Traffic(folder / "network.jsonl")
        self.network = Network(self.traffic, lambda: self.allowed)
        self.hub = Hub(self.network, hub.endpoint, token)
        self.heard: list[Progress] = []
        self.control = Control()

    def target(self, file: RemoteFile) -> Path:
        return self.folder / "models" / file.name

    def fetch(self, file: RemoteFile, retry: Retry = SOON) -> Path:
        self.control = Control()
        self.heard.clear()
        Download(self.hub, file, self.target(file), self.control, self._hear, retry).run()
        return self.target(file)

    def _hear(self, progress: Progress) -> None:
        self.heard.append(progress)

    def names(self) -> set[str]:
        """Of the files that people see in the folder of models."""
        return {p.name for p in (self.folder / "models").iterdir() if not p.name.startswith(".")}


class Window:
    """A program with downloads, and what it hears of them."""

    def __init__(self, client: Client) -> None:
        self.models = client.folder / "models"
        self.downloads = Downloads(self.models, lambda: client.hub, SOON)
        self.heard: list[DownloadStatus] = []
        self._more = threading.Condition()
        self.downloads.subscribe(self._take)

    def _take(self, status: DownloadStatus) -> None:
        with self._more:
            self.heard.append(status)
            self._more.notify_all()

    def until(self, right: Callable[[DownloadStatus], bool], after: int = 0) -> DownloadStatus:
        with self._more:
            assert self._more.wait_for(lambda: any(right(s) for s in self.heard[after:]), 60), self.heard
            return next(s for s in self.heard[after:] if right(s))

    def state(self, state: State, after: int = 0) -> DownloadStatus:
        return self.until(lambda s: s.state is state, after)
