"""When an engine is taken for hung, and when not; a machine's sleep. Clocks are injected."""

from __future__ import annotations

import math

import pytest

from inglenook.core.events import Prefill
from inglenook.core.fitting import BATCH
from inglenook.engine.pulse import LEAST, SEVERAL, UNMEASURED, Naps, Pulse, boot_time


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lasts(pulse: Pulse, clock: Clock) -> float:
    """Seconds without a sign after which it is not well; to a hundredth."""
    start = clock.now
    low, high = 0.0, 100_000.0
    while high - low > 0.005:
        middle = (low + high) / 2
        clock.now = start + middle
        low, high = (middle, high) if pulse.is_well() else (low, middle)
    clock.now = start
    return low


def test_with_nothing_to_do_it_is_always_well(clock: Clock):
    pulse = Pulse(clock)
    clock.now += 1e6
    assert pulse.is_well()
    pulse.begin()
    clock.now += 1e6
    assert not pulse.is_well()
    pulse.end()
    assert pulse.is_well()


def test_a_batch_may_take_several_times_what_the_last_ones_took(clock: Clock):
    pulse = Pulse(clock)
    pulse.begin()
    assert lasts(pulse, clock) == pytest.approx(UNMEASURED, abs=0.02)
    clock.now += 3.0  # a state is restored: no measure
    pulse.read(Prefill(0, 3 * BATCH, 0))
    assert lasts(pulse, clock) == pytest.approx(UNMEASURED, abs=0.02)
    for done in (1, 2):
        clock.now += 30.0
        pulse.read(Prefill(done * BATCH, 3 * BATCH, 0))
        assert lasts(pulse, clock) == pytest.approx(SEVERAL * 30.0, abs=0.02)


def test_a_small_batch_is_a_measure_of_a_full_one(clock: Clock):
    pulse = Pulse(clock)
    pulse.begin()
    pulse.read(Prefill(0, 2 * BATCH, 0))
    clock.now += 5.0
    pulse.read(Prefill(BATCH // 4, 2 * BATCH, 0))
    assert lasts(pulse, clock) == pytest.approx(SEVERAL * 20.0, abs=0.02)


def test_tokens_have_a_measure_of_their_own(clock: Clock):
    pulse = Pulse(clock)
    pulse.begin()
    pulse.read(Prefill(0, BATCH, 0))
    clock.now += 30.0
    pulse.read(Prefill(BATCH, BATCH, 0))
    assert lasts(pulse, clock) == pytest.approx(SEVERAL * 30.0, abs=0.02)  # the first token may page weights in
    for _ in range(5):
        clock.now += 8.0
        pulse.step()
    assert lasts(pulse, clock) == pytest.approx(SEVERAL * 8.0, abs=0.02)
    for _ in range(200):
        clock.now += 0.1
        pulse.step()
    assert lasts(pulse, clock) == pytest.approx(LEAST, abs=0.02)  # what was slow once is forgotten


def test_what_comes_in_between_is_no_measure(clock: Clock):
    pulse = Pulse(clock)
    pulse.begin()
    pulse.read(Prefill(0, 0, 0))
    pulse.step()
    with pulse.aside():
        assert lasts(pulse, clock) == pytest.approx(UNMEASURED, abs=0.02)
        clock.now += 100.0
    clock.now += 0.1
    pulse.step()
    assert lasts(pulse, clock) == pytest.approx(LEAST, abs=0.02)


def test_a_benchmark_tells_nothing_before_its_end(clock: Clock):
    pulse = Pulse(clock)
    pulse.begin(math.inf)
    clock.now += 1e6
    assert pulse.is_well()


def test_after_a_sleep_it_has_all_its_time_again(clock: Clock):
    pulse = Pulse(clock)
    pulse.begin()
    clock.now += 10 * UNMEASURED
    assert not pulse.is_well()
    pulse.forgive()
    assert lasts(pulse, clock) == pytest.approx(UNMEASURED, abs=0.02)


def test_a_sleep_of_the_machine_is_noticed_once(clock: Clock):
    boot = Clock()
    naps = Naps(clock, boot)
    for _ in range(3):
        clock.now += 50.0
        boot.now += 50.0
        assert not naps.noticed()
    boot.now += 3600.0
    assert naps.noticed()
    assert not naps.noticed()


def test_a_process_that_stood_still_notices_it_by_what_it_was_due(clock: Clock):
    naps = Naps(clock, clock)  # a system whose clocks both go on in sleep
    due = clock.now + 20.0
    clock.now = due + 0.5
    assert not naps.noticed(due)
    clock.now = due + 500.0
    assert naps.noticed(due)


def test_the_clock_of_this_system_goes():
    assert boot_time() <= boot_time()
