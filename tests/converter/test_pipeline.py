import threading

import pytest

from inglenook_convert.pipeline import Workers, thread_count


def test_there_are_at_least_two_threads() -> None:
    assert thread_count() >= 2


def test_results_come_in_order_though_the_jobs_end_in_another() -> None:
    later = threading.Event()
    ended = []

    def work(job: int) -> int:
        if job == 0:
            assert later.wait(60)
        elif job == 3:
            later.set()
        ended.append(job)
        return job * job

    with Workers(work, 2) as workers:
        for job in range(8):
            workers.submit(job)
        found = [workers.take() for _ in range(8)]
    assert found == [i * i for i in range(8)]
    assert ended.index(0) > ended.index(3)


def test_an_error_is_raised_in_its_turn_and_no_thread_is_left() -> None:
    before = threading.active_count()
    taken = []

    def work(job: int) -> int:
        if job >= 3:
            raise ValueError(job)
        return job

    def run() -> None:
        with Workers(work, 4) as workers:
            for job in range(1000):
                workers.submit(job)
            while True:
                taken.append(workers.take())

    with pytest.raises(ValueError, match=r"^3$"):
        run()
    assert taken == [0, 1, 2]
    assert threading.active_count() == before


def test_leaving_early_drops_what_has_not_begun() -> None:
    begun = []
    release = threading.Event()

    def work(job: int) -> None:
        begun.append(job)
        release.wait(60)

    def run() -> None:
        with Workers(work, 2) as workers:
            for job in range(100):
                workers.submit(job)
            threading.Timer(0.05, release.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(begun) <= 2
