"""Rules for loading, at the sizes of the 20b model and of the demo."""

from __future__ import annotations

import pytest

from inglenook.engine import plan

GIB = plan.GIB
WEIGHTS = 12_100_000_000  # bytes of gpt-oss-20b
PER_TOKEN = 24 * 1024


@pytest.mark.parametrize(
    ("memory_gib", "expected"),
    [(64, 131072), (32, 131072), (16, 98304), (15, 65536), (14, 24576), (13, 8192), (8, 8192)],
)
def test_context_of_the_20b_model(memory_gib: int, expected: int):
    free = memory_gib * GIB - WEIGHTS - plan.RESERVE
    assert plan.context_length(0, 131072, PER_TOKEN, free, WEIGHTS) == expected


def test_context_as_wanted_within_what_the_model_can():
    assert plan.context_length(4096, 131072, PER_TOKEN, 0, WEIGHTS) == 4096
    assert plan.context_length(200_000, 131072, PER_TOKEN, 0, WEIGHTS) == 131072


def test_cache_is_in_proportion_to_a_small_model():
    assert plan.context_length(0, 131072, 1024, 20 * GIB, 2_000_000) == 16384
    assert plan.context_length(0, 4096, 1024, 20 * GIB, 2_000_000) == 4096


def test_repacking_only_with_room_for_both():
    assert plan.repack(WEIGHTS, 32 * GIB)
    assert not plan.repack(WEIGHTS, 24 * GIB)


def test_threads():
    assert plan.threads(1 << 20) == 1
    assert plan.threads(WEIGHTS) >= 1


def test_available_memory():
    assert plan.available_memory(0) > 0 or plan.available_memory(7) == 7
