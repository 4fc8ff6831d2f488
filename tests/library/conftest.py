"""A loopback Hub with one file, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.library.fetching import TOKEN, Client, some_bytes
from tests.library.hub import LoopbackHub

from inglenook.library.remote.hub import RemoteFile

SIZE = 3_000_000


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as made:
        yield made


@pytest.fixture
def file(hub: LoopbackHub) -> RemoteFile:
    return hub.add("model.gguf", some_bytes(SIZE))


@pytest.fixture
def client(tmp_path: Path, hub: LoopbackHub) -> Client:
    return Client(tmp_path, hub, TOKEN)
