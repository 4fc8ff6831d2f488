"""The meter: a rate over the last seconds, time left, and never a step backwards whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.core.errors import ErrorInfo
from inglenook.library.progress import Meter, Progress, Step, speed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_follow_the_line() -> None:
    clock, heard = Clock(), list[Progress]()
    meter = Meter(1000, heard.append, clock)
    meter.start(200)
    for step in range(1, 21):
        clock.now += 1
        meter.at(200 + 10 * step)
    assert (heard[-1].rate, heard[-1].seconds_left, heard[-1].done) == (10.0, 60.0, 400)
    for step in range(1, 13):
        clock.now += 1
        meter.at(400 + 40 * step)
    assert heard[-1].rate == 40.0
    meter.waiting(5.0, ErrorInfo("No connection"))
    assert (heard[-1].step, heard[-1].rate, heard[-1].seconds_left) == (Step.WAITING, 0.0, None)
    clock.now += 500
    meter.start(880)
    clock.now += 1
    meter.at(890)
    assert heard[-1].rate == 10.0  # the wait does not count


def test_at_most_ten_reports_a_second() -> None:
    clock, heard = Clock(), list[Progress]()
    meter = Meter(1000, heard.append, clock)
    for position in range(1000):
        clock.now += 0.001
        meter.at(position)
    assert 9 <= len(heard) <= 11


EVENTS = st.one_of(
    st.tuples(st.sampled_from(["start", "at", "checking"]), st.integers(0, 1000), st.floats(0, 20)),
    st.tuples(st.sampled_from(["again", "waiting"]), st.just(0), st.floats(0, 20)),
)


@given(st.lists(EVENTS, max_size=40))
def test_never_backwards_and_never_nonsense(events: list[tuple[str, int, float]]) -> None:
    clock, heard = Clock(), list[Progress]()
    meter = Meter(1000, heard.append, clock)
    for name, position, seconds in events:
        clock.now += seconds
        if name == "again":
            meter.again()
        elif name == "waiting":
            meter.waiting(1.0, ErrorInfo("No connection"))
        else:
            getattr(meter, name)(position)
    meter.finished()
    done = [p.done for p in heard]
    assert done == sorted(done)
    assert heard[-1].done == heard[-1].total == 1000
    assert all(p.seconds_left is None or p.seconds_left >= 0 for p in heard)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (1.0, "0.1 MB"),
        (340_000, "0.3 MB"),
        (9_949_999, "9.9 MB"),
        (9_950_001, "10 MB"),
        (24_400_000, "24 MB"),
        (999_499_999, "999 MB"),
        (999_500_001, "1.0 GB"),
        (1_640_000_000, "1.6 GB"),
    ],
)
def test_a_rate_in_words(rate: float, words: str) -> None:
    assert speed(rate) == f"{words} a second"
