"""The list of requests: survives kills and damage, stays small, and its sums stay true."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.library.remote.traffic import Traffic


def test_a_request_is_on_disk_before_it_goes_out_and_is_completed_later(tmp_path: Path) -> None:
    traffic = Traffic(tmp_path / "network.jsonl")
    id_ = traffic.begin("hub.example", "download")
    (begun,) = Traffic(tmp_path / "network.jsonl").requests()
    assert (begun.host, begun.purpose, begun.received, begun.status) == ("hub.example", "download", 0, 0)
    traffic.update(id_, 10, 200)
    traffic.update(id_, 30, 200)
    (ended,) = traffic.requests()
    assert (ended.received, ended.status, ended.time) == (30, 200, begun.time)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_it_is_readable_by_the_user_only(tmp_path: Path) -> None:
    Traffic(tmp_path / "network.jsonl").begin("hub.example", "download")
    assert stat.S_IMODE((tmp_path / "network.jsonl").stat().st_mode) == 0o600


def test_it_stays_small_and_the_sums_stay_true(tmp_path: Path) -> None:
    traffic = Traffic(tmp_path / "network.jsonl", max_bytes=4000)
    for number in range(200):
        traffic.update(traffic.begin(f"host{number % 3}", "download", sent=1), number, 200)
        assert (tmp_path / "network.jsonl").stat().st_size < 4500
    requests = traffic.requests()
    assert sum(r.count for r in requests) == 200
    assert sum(r.received for r in requests) == sum(range(200))
    assert sum(r.sent for r in requests) == 200
    assert [r.received for r in requests if r.id][-1] == 199
    sums = [r for r in requests if not r.id]
    assert {r.host for r in sums} == {"host0", "host1", "host2"}
    assert len(sums) == 3
    assert all(r.time <= r.until for r in sums)


def test_several_programs_write_it(tmp_path: Path) -> None:
    def write(name: str) -> None:
        traffic = Traffic(tmp_path / "network.jsonl", max_bytes=3000)
        for _ in range(50):
            traffic.update(traffic.begin(name, "download"), 1, 200)

    threads = [threading.Thread(target=write, args=(f"host{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests = Traffic(tmp_path / "network.jsonl").requests()
    assert sum(r.count for r in requests) == 150


@given(damage=st.binary(max_size=60), cut=st.integers(0, 200))
def test_damage_costs_only_the_damaged_lines(tmp_path_factory: pytest.TempPathFactory, damage: bytes, cut: int) -> None:
    file = tmp_path_factory.mktemp("traffic") / "network.jsonl"
    traffic = Traffic(file)
    for host in ("a", "b"):
        traffic.update(traffic.begin(host, "download"), 5, 200)
    size = file.stat().st_size
    os.truncate(file, max(size - cut, 0))
    with file.open("ab") as f:
        f.write(damage)
    traffic.begin("c", "download")
    requests = traffic.requests()
    assert requests[-1].host == "c"
    if cut <= size // 2:
        assert requests[0].host == "a"
