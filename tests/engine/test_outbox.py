"""Messages keep their order, tokens are joined, and nobody waits for a peer that does not read."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from inglenook.core.events import Finished, Loading, StopReason, Tokens
from inglenook.core.inference import GenerateRequest, ModelSpec
from inglenook.core.prompt import Text
from inglenook.engine.outbox import Outbox
from inglenook.engine.protocol import Command, Happened, Report, Run, unpack


@pytest.fixture
def pipe() -> Iterator[tuple[Connection, Connection]]:
    ends = Pipe(duplex=False)
    yield ends
    for end in ends:
        end.close()


def read_until(reader: Connection, last: Command | Report) -> list[Command | Report]:
    found = [unpack(reader.recv_bytes())]
    while found[-1] != last:
        found.append(unpack(reader.recv_bytes()))
    return found


def test_tokens_are_joined_in_order(pipe: tuple[Connection, Connection]):
    outbox = Outbox(pipe[1], "test")
    last = Happened(1, Finished(StopReason.STOP))
    for i in range(500):
        outbox.put_token(1, i, b"%d" % i)
    outbox.put(last)
    *events, end = read_until(pipe[0], last)
    assert end == last
    tokens = [e.event for e in events if isinstance(e, Happened) and isinstance(e.event, Tokens)]
    assert [i for t in tokens for i in t.ids] == list(range(500))
    assert [p for t in tokens for p in t.pieces] == [b"%d" % i for i in range(500)]
    assert len(tokens) < 250
    outbox.close(5)


def test_generations_are_not_mixed(pipe: tuple[Connection, Connection]):
    outbox = Outbox(pipe[1], "test")
    last = Happened(1, Loading(1.0))
    for generation in (1, 2, 1):
        outbox.put_token(generation, 10 * generation, b"x")
        outbox.put_token(generation, 10 * generation + 1, b"y")
    outbox.put(last)
    events = read_until(pipe[0], last)[:-1]
    ids = [(e.id, i) for e in events if isinstance(e, Happened) and isinstance(e.event, Tokens) for i in e.event.ids]
    assert ids == [(1, 10), (1, 11), (2, 20), (2, 21), (1, 10), (1, 11)]
    outbox.close(5)


def test_peer_that_does_not_read_blocks_nobody(pipe: tuple[Connection, Connection]):
    outbox = Outbox(pipe[1], "test")
    large = Run(1, GenerateRequest(ModelSpec("x"), (Text("word " * 200_000),)))
    last = Happened(2, Finished(StopReason.STOP))
    for _ in range(5):
        outbox.put(large)  # each more than a pipe holds: without the thread this would wait for ever
    outbox.put_token(2, 7, b"z")
    outbox.put(last)
    outbox.close(0)
    assert read_until(pipe[0], last) == [large] * 5 + [Happened(2, Tokens((7,), (b"z",))), last]


def test_broken_connection_swallows_what_is_put():
    reader, writer = Pipe(duplex=False)
    outbox = Outbox(writer, "test")
    reader.close()
    for _ in range(3):
        outbox.put(Happened(1, Loading(0.5)))
    outbox.close(5)
    writer.close()
