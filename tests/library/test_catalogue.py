"""The pinned catalogue is complete and well-formed."""

from __future__ import annotations

import re

import pytest

from inglenook.library.catalogue import (
    APACHE_2,
    BY_ADDRESS,
    ENTRIES,
    GPT_OSS_20B,
    GPT_OSS_20B_ORIGINAL,
    GPT_OSS_120B_ORIGINAL,
    GPT_OSS_120B_SPLIT,
    Entry,
    Format,
    entry,
)
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
    """Both checkpoints have the same tokenizer; nothing else is there twice."""
    files = [file for one in ENTRIES for file in one.files if file.digest]
    assert len({file.digest for file in files}) == len(set(files))
    twice = {file.name for file in files if files.count(file) > 1}
    assert twice == {"tokenizer.json", "chat_template.jinja"}


def test_one_is_recommended_and_it_is_the_small_one_as_one_file() -> None:
    assert [e for e in ENTRIES if e.recommended] == [GPT_OSS_20B]
    assert (GPT_OSS_20B.size, GPT_OSS_20B.format) == (12_109_566_624, Format.GGUF)


def tensor_bytes(layers: int, experts: int) -> int:
    """Of a checkpoint as OpenAI publishes it: the experts' weights in MXFP4 (17 bytes for 32), all else in BF16."""
    hidden, queries, keys, heads, vocabulary = 2880, 4096, 512, 64, 201088
    attention = 2 * (queries * hidden + queries + 2 * (keys * hidden + keys) + hidden * queries + hidden + heads)
    norms_and_router = 2 * (2 * hidden + experts * hidden + experts)
    rows = experts * (2 * hidden + hidden)  # of gate, up and down
    mixture = rows * hidden // 32 * 17 + 2 * rows
    return 2 * (2 * vocabulary * hidden + hidden) + layers * (attention + norms_and_router + mixture)


@pytest.mark.parametrize(("one", "files"), [(GPT_OSS_20B_ORIGINAL, 3), (GPT_OSS_120B_ORIGINAL, 15)])
def test_the_checkpoints_have_the_size_of_their_tensors(one: Entry, files: int) -> None:
    shards = [f for f in one.files if f.name.endswith(".safetensors")]
    last = f"{files - 1:05}"
    assert [f.name for f in shards] == [f"model-{n:05}-of-{last}.safetensors" for n in range(files)]
    headers = sum(f.size for f in shards) - tensor_bytes(one.layers, one.experts)
    assert 0 < headers < files * 20_000
    assert one.format is Format.SAFETENSORS


def test_sizes_agree_with_the_published_totals() -> None:
    assert tensor_bytes(24, 32) == 13_761_264_768
    assert abs(GPT_OSS_120B_SPLIT.size - entry("gpt-oss-120b").size) < 1_000_000


def test_what_is_known_before_a_look_up_is_of_the_same_architecture() -> None:
    (safeguard,) = BY_ADDRESS
    check_repository(safeguard.repository)
    assert safeguard.title == "gpt-oss-safeguard-20b"
    assert safeguard.licence == APACHE_2
    assert (safeguard.like, safeguard.published_like) == (GPT_OSS_20B, GPT_OSS_20B_ORIGINAL)
    assert safeguard.repository not in {one.repository for one in ENTRIES}, "what is pinned needs no guess"


def test_an_unknown_key() -> None:
    with pytest.raises(KeyError):
        entry("gpt-5")
