"""Who is served next, and what a cancel does."""

from __future__ import annotations

from typing import Any, cast

import pytest

from inglenook.core.events import Queued
from inglenook.core.inference import GenerateRequest, ModelSpec
from inglenook.engine.protocol import Ahead, Bench, Count, Happened, Inject, Load, Run
from inglenook.engine.schedule import ClientLine, Job, Schedule

MODEL = ModelSpec("x")


@pytest.fixture
def interrupts() -> list[bool]:
    return []


@pytest.fixture
def schedule(interrupts: list[bool]) -> Schedule:
    return Schedule(interrupts.append)


class Told:
    """What a client is told."""

    def __init__(self) -> None:
        self.reports: list[object] = []

    def put(self, report: object) -> None:
        self.reports.append(report)


def line() -> ClientLine:
    return ClientLine(cast(Any, Told()))


def told(client: ClientLine) -> list[object]:
    return cast(Told, client.outbox).reports


def add(schedule: Schedule, client: ClientLine, number: int, *, count: bool = False) -> Job:
    job = Job(client, Count(number, MODEL, ()) if count else Load(number, MODEL))
    schedule.add(job)
    return job


def test_clients_take_turns_and_each_is_served_in_order(schedule: Schedule):
    a, b = line(), line()
    first, second, third = (add(schedule, a, i) for i in range(3))
    other = add(schedule, b, 0)
    assert [schedule.next() for _ in range(4)] == [first, other, second, third]


def test_counts_go_first(schedule: Schedule):
    client = line()
    job, count = add(schedule, client, 1), add(schedule, client, 2, count=True)
    assert schedule.has_counts
    assert schedule.next() is count
    assert not schedule.has_counts
    assert schedule.next() is job
    assert schedule.next_count() is None
    during = add(schedule, client, 3, count=True)
    assert schedule.next_count() is during


def test_cancel_of_the_running_job_interrupts_it_once_and_not_the_next(schedule: Schedule, interrupts: list[bool]):
    a, b = line(), line()
    running, _ = add(schedule, a, 1), add(schedule, b, 1)
    assert schedule.next() is running
    assert schedule.cancel(b, 2) == []
    assert not running.cancelled
    assert schedule.cancel(a, 1) == []  # its own end event will come
    assert running.cancelled
    assert interrupts == [False, True]
    following = schedule.next()
    assert not following.cancelled
    assert interrupts == [False, True, False]


def test_cancel_of_waiting_jobs_gives_them_back(schedule: Schedule, interrupts: list[bool]):
    a, b = line(), line()
    mine = [add(schedule, a, 1), add(schedule, a, 2), add(schedule, a, 3, count=True)]
    other = add(schedule, b, 1)
    assert schedule.cancel(a, 2) == [mine[1]]
    assert schedule.cancel(a) == [mine[0], mine[2]]
    assert not schedule.has_counts
    assert schedule.next() is other
    assert interrupts == [False]


def test_what_is_put_in_is_for_the_running_job_alone(schedule: Schedule):
    a, b = line(), line()
    running, waiting = add(schedule, a, 1), add(schedule, a, 2)
    schedule.inject(a, Inject(1, (), 0))
    assert running.injection is None, "it has not begun"
    assert schedule.next() is running
    for client, number in ((b, 1), (a, 2)):
        schedule.inject(client, Inject(number, (), 0))
    assert running.injection is waiting.injection is None
    schedule.inject(a, Inject(1, (), 7))
    assert running.injection == Inject(1, (), 7)


def ahead(schedule: Schedule, client: ClientLine, number: int) -> Job:
    job = Job(client, Ahead(number, MODEL, ()))
    schedule.add(job)
    return job


def test_work_ahead_comes_last(schedule: Schedule):
    client = line()
    later, job, count = ahead(schedule, client, 1), add(schedule, client, 2), add(schedule, client, 3, count=True)
    assert [schedule.next() for _ in range(3)] == [count, job, later]


def test_other_work_stops_work_ahead(schedule: Schedule, interrupts: list[bool]):
    a, b = line(), line()
    running = ahead(schedule, a, 1)
    assert schedule.next() is running
    add(schedule, a, 2, count=True)
    ahead(schedule, a, 3)
    assert not running.cancelled  # these can wait, or are served in between
    job = add(schedule, b, 1)
    assert running.cancelled
    assert schedule.next_count() is not None
    assert schedule.next() is job
    add(schedule, a, 4)
    assert not job.cancelled
    assert interrupts == [False, True, False]


def test_work_ahead_that_waits_can_be_cancelled(schedule: Schedule):
    client = line()
    job, later = add(schedule, client, 1), ahead(schedule, client, 2)
    assert schedule.cancel(client, 2) == [later]
    assert schedule.next() is job


def run(schedule: Schedule, client: ClientLine, number: int, *, gives_way: bool = False, model: str = "x") -> Job:
    job = Job(client, Run(number, GenerateRequest(ModelSpec(model), (), gives_way=gives_way)))
    schedule.add(job)
    return job


def test_what_gives_way_comes_last(schedule: Schedule):
    a, b = line(), line()
    slow, first, second = run(schedule, a, 1, gives_way=True), run(schedule, b, 1), run(schedule, b, 2)
    assert [schedule.next() for _ in range(3)] == [first, second, slow]


def test_what_gives_way_is_put_aside_for_all_that_do_not(schedule: Schedule, interrupts: list[bool]):
    a, b = line(), line()
    slow = run(schedule, a, 1, gives_way=True)
    assert schedule.next() is slow
    run(schedule, b, 1, gives_way=True)
    run(schedule, b, 2, model="y")
    assert not schedule.has_first
    first, second = run(schedule, b, 3), add(schedule, b, 4)  # a load of the same model
    assert schedule.has_first
    assert interrupts == [False], "it writes: what it evaluates is over soon"
    assert schedule.first(slow) is first
    schedule.back(slow)
    assert schedule.has_first
    assert schedule.first(slow) is second
    schedule.back(slow)
    assert schedule.first(slow) is None
    assert not schedule.has_first


def test_what_reads_is_interrupted_for_those_that_go_first(schedule: Schedule, interrupts: list[bool]):
    a, b = line(), line()
    slow = run(schedule, a, 1, gives_way=True)
    schedule.next()
    schedule.interruptible(slow, wanted=True)
    assert interrupts[-1] is False
    first = run(schedule, b, 1)
    assert interrupts[-1] is True
    assert schedule.first(slow) is first
    assert interrupts[-1] is False
    run(schedule, b, 2)
    assert interrupts[-1] is False, "what runs now does not give way"
    schedule.back(slow)
    schedule.interruptible(slow, wanted=True)
    assert interrupts[-1] is True, "the next one waits already"
    schedule.interruptible(slow, wanted=False)
    assert interrupts[-1] is False
    schedule.go_on(slow)
    assert not schedule.has_first


def test_what_is_put_aside_can_be_cancelled_and_spoken_to(schedule: Schedule, interrupts: list[bool]):
    a, b = line(), line()
    slow = run(schedule, a, 1, gives_way=True)
    schedule.next()
    run(schedule, b, 1)
    schedule.first(slow)
    schedule.inject(a, Inject(1, (), 3))
    assert slow.injection == Inject(1, (), 3)
    assert schedule.cancel(a, 1) == [slow], "its client need not wait for the other's end"
    assert slow.cancelled
    assert interrupts[-1] is False, "the running one goes on"
    assert schedule.cancel(a, 1) == []
    schedule.back(slow)
    assert interrupts[-1] is True


def test_who_has_to_wait_for_anothers_answer_is_told(schedule: Schedule):
    a, b, c = line(), line(), line()
    ask = Run(7, GenerateRequest(MODEL, (), gives_way=True))
    turn = Run(8, GenerateRequest(MODEL, ()))
    schedule.add(Job(a, ask))
    assert schedule.next() is not None
    schedule.add(Job(b, turn))
    assert told(b) == [], "it goes first"
    schedule.add(Job(c, turn))
    assert told(c) == [Happened(8, Queued())], "after that one"
    schedule.add(Job(c, ask))
    assert told(c)[1:] == [Happened(7, Queued())]
    assert told(a) == []


@pytest.mark.parametrize("running", [Ahead(1, MODEL, ()), Load(1, MODEL)])
def test_what_takes_no_time_is_not_told(schedule: Schedule, running: Ahead | Load):
    a, b = line(), line()
    schedule.add(Job(a, running))
    schedule.next()
    schedule.add(Job(b, Run(2, GenerateRequest(MODEL, ()))))
    schedule.add(Job(b, Count(3, MODEL, ())))
    assert told(b) == []


def test_a_benchmark_waits_without_being_told(schedule: Schedule):
    """It hears no events."""
    a, b = line(), line()
    schedule.add(Job(a, Bench(1, MODEL, 1, 1)))
    schedule.next()
    schedule.add(Job(b, Bench(1, MODEL, 1, 1)))
    assert told(b) == []
    schedule.add(Job(b, Run(2, GenerateRequest(MODEL, ()))))
    assert told(b) == [Happened(2, Queued())]
