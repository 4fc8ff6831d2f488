"""A program to kill: it goes on with its downloads, as every start of the program does, and ends when all are there."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import httpx  # noqa: F401 - so that the time until it is imported is not among the moments to kill at
from tests.library.fetching import Client

from inglenook.library.remote.downloads import Downloads, DownloadStatus, State
from inglenook.library.remote.hub import Hub


class At:
    """An address."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint


client = Client(Path(sys.argv[1]), At(sys.argv[2]))  # type: ignore[arg-type]  # all that it needs of a loopback Hub
downloads = Downloads(client.folder / "models", lambda: Hub(client.network, sys.argv[2]))
ended = threading.Event()


def hear(status: DownloadStatus) -> None:
    if status.state is State.FAILED:
        print(status.reason.text() if status.reason else "", file=sys.stderr)
    if status.state in (State.FINISHED, State.FAILED):
        ended.set()


downloads.subscribe(hear)
print("ready", flush=True)
downloads.start()
if not downloads.statuses():
    ended.set()
ended.wait()
downloads.close()
