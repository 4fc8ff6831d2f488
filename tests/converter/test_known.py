"""What a gpt-oss file must say before llama.cpp sees it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.converter.checkpoints import write_checkpoint

from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.gguf_format import F16, KeyValue, ValueType
from inglenook_convert.headers import HeaderError, check_gguf
from inglenook_convert.known import check_known
from inglenook_convert.metadata import make_metadata
from inglenook_convert.plan import Plan, make_plan

TOKENS, KINDS, MERGES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "merges"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, KeyValue]]:
    """Plan and metadata of a tiny model."""
    checkpoint = open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("known") / "model"))
    config = parse_config(checkpoint.config)
    return make_plan(checkpoint, config), {entry.key: entry for entry in make_metadata(checkpoint, config, 1)}


def check(path: Path, plan: Plan, metadata: dict[str, KeyValue]) -> None:
    header = plan.header(list(metadata.values()))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + plan.data_bytes)
    check_known(path, check_gguf(path))


def test_what_the_converter_writes(parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path) -> None:
    check(tmp_path / "m.gguf", *parts)


def test_without_a_rope_scaling(parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path) -> None:
    plan, metadata = parts
    check(tmp_path / "m.gguf", plan, {k: v for k, v in metadata.items() if k != "gpt-oss.rope.scaling.type"})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("general.architecture", "llama", "its architecture is 'llama'"),
        ("gpt-oss.block_count", 0, "block_count is 0"),
        ("gpt-oss.block_count", None, "block_count is None"),
        ("gpt-oss.context_length", 8, "context_length is 8"),
        ("gpt-oss.expert_count", 1 << 30, "expert_count is 1073741824"),
        ("gpt-oss.expert_used_count", 100, r"100 of \d+ experts cannot be used"),
        ("gpt-oss.attention.sliding_window", 1 << 31, "sliding_window is"),
        ("gpt-oss.attention.head_count_kv", 3, "attention heads cannot share 3"),
        ("gpt-oss.attention.value_length", 2, "keys and values of"),
        ("gpt-oss.attention.layer_norm_rms_epsilon", float("nan"), "layer_norm_rms_epsilon is nan"),
        ("gpt-oss.rope.freq_base", 0.0, "freq_base is 0.0"),
        ("gpt-oss.rope.scaling.type", "yarm", "rope.scaling.type is 'yarm'"),
        ("tokenizer.ggml.model", "llama", "its tokenizer is 'llama'"),
        ("tokenizer.ggml.eos_token_id", 1 << 30, "eos_token_id is 1073741824"),
        (TOKENS, None, "it has no vocabulary"),
        (TOKENS, lambda tokens: (*tokens[:-1], tokens[0]), "a token occurs twice"),
        (TOKENS, lambda tokens: ("a b", *tokens[1:]), "not written as byte-level BPE"),
        (TOKENS, lambda tokens: ("\u4e2d", *tokens[1:]), "not written as byte-level BPE"),
        (KINDS, lambda kinds: kinds[1:], "of which kind each token is"),
        (MERGES, None, "it has no merges"),
        (MERGES, lambda merges: ("", *merges), "a merge is empty"),
    ],
)
def test_what_is_refused(
    parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path, key: str, value: Any, said: str
) -> None:
    plan, metadata = parts
    changed = dict(metadata)
    if value is None:
        del changed[key]
    else:
        new: Callable[[Any], Any] = value if callable(value) else lambda _: value
        changed[key] = replace(metadata[key], value=new(metadata[key].value))
    with pytest.raises(HeaderError, match=said) as error:
        check(tmp_path / "m.gguf", plan, changed)
    assert str(error.value).startswith(str(tmp_path / "m.gguf"))
    assert str(error.value).endswith("Get the file again or choose another.")


def test_a_token_that_is_no_text(parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path) -> None:
    plan, metadata = parts
    check(tmp_path / "m.gguf", plan, metadata)
    raw = (tmp_path / "m.gguf").read_bytes()
    broken = raw.replace("Ġ".encode(), b"\xc4\xff", 1)
    assert broken != raw
    (tmp_path / "m.gguf").write_bytes(broken)
    with pytest.raises(HeaderError, match="a token is not valid UTF-8"):
        check_known(tmp_path / "m.gguf", check_gguf(tmp_path / "m.gguf"))


def test_a_norm_that_is_not_f32(parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path) -> None:
    """llama.cpp ends the process when it multiplies by it."""
    plan, metadata = parts
    norm = next(t for t in plan.tensors if t.info.name == "output_norm.weight")
    changed = replace(norm, info=replace(norm.info, kind=F16, offset=0))
    with pytest.raises(HeaderError, match=r"'output_norm\.weight' has the type F16"):
        check(tmp_path / "m.gguf", replace(plan, tensors=(changed,)), metadata)


def test_a_vocabulary_of_another_type(parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path) -> None:
    plan, metadata = parts
    changed = {**metadata, TOKENS: KeyValue(TOKENS, ValueType.INT32, tuple(range(1000)))}
    with pytest.raises(HeaderError, match="it has no vocabulary"):
        check(tmp_path / "m.gguf", plan, changed)


def test_a_file_that_goes_away_meanwhile(parts: tuple[Plan, dict[str, KeyValue]], tmp_path: Path) -> None:
    plan, metadata = parts
    path = tmp_path / "m.gguf"
    check(path, plan, metadata)
    summary = check_gguf(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(HeaderError, match="cannot be read any more"):
        check_known(path, summary)
    path.unlink()
    with pytest.raises(HeaderError, match="cannot be read any more"):
        check_known(path, summary)
