"""Each text is counted once: in this program, and those of messages in any later one."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chat.replay import Replay
from tests.chat.support import Bench

from inglenook.chat.counts import TokenCounts
from inglenook.core.inference import Counts, ModelSpec
from inglenook.core.prompt import Ids, Segment, Special, Text
from inglenook.harmony import specials

SPEC = ModelSpec("model.gguf", n_ctx=4096, gpu_layers=0, threads=1)
HELLO = (Special(specials.START), Text("hello"))


class Counting(Replay):
    """Remembers what it was asked to count."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Segment, ...]] = []
        self.vocabulary = "bytes"

    def counts(self, model: ModelSpec, texts: Sequence[Sequence[Segment]]) -> Counts:
        self.asked += map(tuple, texts)
        found = super().counts(model, texts)
        return Counts(found.tokens, self.vocabulary, found.n_ctx)


def test_once_and_in_order(bench: Bench) -> None:
    engine = Counting()
    count = TokenCounts(bench.store, engine).counter(SPEC, "bytes")
    other = (Text("me"),)
    assert count([HELLO, other, ()], ["", "", ""]) == [6, 2, 0]
    assert count([other, HELLO], ["", ""]) == [2, 6]
    assert engine.asked == [HELLO, other, ()]


def test_what_was_sampled_needs_no_engine(bench: Bench) -> None:
    engine = Counting()
    count = TokenCounts(bench.store, engine).counter(SPEC, "bytes")
    assert [count([(*HELLO, Ids(tuple(range(n))))], [""]) for n in (3, 4)] == [[9], [10]]
    assert engine.asked == [HELLO]


def test_of_another_vocabulary_they_are_others(bench: Bench) -> None:
    engine = Counting()
    counts = TokenCounts(bench.store, engine)
    for engine.vocabulary in ("bytes", "words"):
        counts.counter(SPEC, engine.vocabulary)([HELLO], [""])
    assert engine.asked == [HELLO, HELLO]


def test_words_and_control_tokens_of_the_same_name_are_two_texts(bench: Bench) -> None:
    count = TokenCounts(bench.store, Counting()).counter(SPEC, "bytes")
    assert count([(Special(specials.START),), (Text(specials.START),)], ["", ""]) == [1, len(specials.START)]
    assert count([(Text("a"), Text("b")), (Text("ab"),)], ["", ""]) == [2, 2]


def test_those_of_messages_are_found_by_a_later_program(bench: Bench, replay: Replay) -> None:
    replay.will_say(specials.CHANNEL, "final", specials.MESSAGE, "x", specials.RETURN)
    chat = bench.ask("hello")
    question = bench.stored(chat).path()[0]
    first, later = Counting(), Counting()
    TokenCounts(bench.store, first).counter(SPEC, "bytes", chat)([HELLO, (Text("me"),)], [question.id, ""])
    bench.store.flush()
    count = TokenCounts(bench.store, later).counter(SPEC, "bytes", chat)
    assert count([HELLO, (Text("me"),)], [question.id, ""]) == [6, 2]
    assert (len(first.asked), later.asked) == (2, [(Text("me"),)])
    assert count([(Text("hello, edited"),)], [question.id]) == [13], "another text of the same message"


def test_the_window_is_asked_for_once_and_taken_from_the_loaded_model(bench: Bench) -> None:
    engine = Counting()
    counts = TokenCounts(bench.store, engine)
    engine.n_ctx = 1000
    assert [counts.window(SPEC) for _ in range(2)] == [("bytes", 1000)] * 2
    engine.n_ctx = 500
    assert counts.window(SPEC) == ("bytes", 1000)
    for _ in engine.load(SPEC):
        pass
    assert counts.window(SPEC) == ("bytes", 500)
