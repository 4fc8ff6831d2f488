"""The pinned catalogue is complete and well-formed."""

from __future__ import annotations

import re

import pytest

from inglenook.library.catalogue import ENTRIES, GPT_OSS_20B, GPT_OSS_120B_SPLIT, Entry, Format, entry
from inglenook.library.remote.hub import check_repository


@pytest.mark.parametrize("one", ENTRIES, ids=lambda e: e.key)
def test_everything_is_pinned(one: Entry) -> None:
    check_repository(one.repository)
    assert re.fullmatch(r"[0-9a-f]{40}", one.revision)
    assert one.licence
    assert entry(one.key) is one
    assert len({file.name for file in one.files}) == len(one.files) > 0
    for file in one.files:
        assert file.size > 0
        large = file.name.endswith((".gguf", ".safetensors"))
        assert re.fullmatch(r"[0-9a-f]{64}", file.digest) or (file.digest == "" and not large)


def test_the_hashes_are_of_different_files() -> None:
    digests = [file.digest for one in ENTRIES for file in one.files if file.digest]
    assert len(set(digests)) == len(digests)


def test_one_is_recommended_and_it_is_the_small_one_as_one_file() -> None:
    assert [e for e in ENTRIES if e.recommended] == [GPT_OSS_20B]
    assert (GPT_OSS_20B.size, GPT_OSS_20B.format) == (12_109_566_624, Format.GGUF)


def test_sizes_agree_with_the_published_totals() -> None:
    original = sum(f.size for f in entry("gpt-oss-20b-original").files if f.name.endswith(".safetensors"))
    assert 0 < original - 13_761_264_768 < 100_000  # tensors, and a header for each of three files
    assert abs(GPT_OSS_120B_SPLIT.size - entry("gpt-oss-120b").size) < 1_000_000


def test_an_unknown_key() -> None:
    with pytest.raises(KeyError):
        entry("gpt-5")
