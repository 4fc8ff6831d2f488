import json

import pytest
from tests.converter.checkpoints import PATTERN, SPECIALS, tokenizer

from inglenook.core.paths import resources
from inglenook_convert import vocab
from inglenook_convert.errors import ConvertError


def test_tokens_types_and_padding() -> None:
    vocabulary = vocab.parse_vocabulary(tokenizer(), 300)
    assert vocabulary.tokens[256] == "ab"
    assert vocabulary.tokens[257:267] == SPECIALS
    assert vocabulary.tokens[267] == "[PAD267]"
    assert len(vocabulary.tokens) == len(vocabulary.types) == 300
    assert vocabulary.types[256:268] == (vocab.NORMAL, *[vocab.CONTROL] * 10, vocab.UNUSED)
    assert vocabulary.merges == ("a b",)
    assert vocabulary.pre_tokenizer == "gpt-4o"


def test_special_tokens_are_found_by_text() -> None:
    vocabulary = vocab.parse_vocabulary(tokenizer(), 300)
    assert vocabulary.tokens[vocabulary.bos] == "<|startoftext|>"
    assert vocabulary.tokens[vocabulary.eos] == "<|return|>"
    assert vocabulary.tokens[vocabulary.padding] == "<|endoftext|>"


def test_merges_as_strings_are_the_same() -> None:
    old = tokenizer()
    old["model"]["merges"] = ["a b"]
    assert vocab.parse_vocabulary(old, 300) == vocab.parse_vocabulary(tokenizer(), 300)


def test_without_merges() -> None:
    bare = tokenizer()
    del bare["model"]["merges"]
    assert vocab.parse_vocabulary(bare, 300).merges == ()


def test_a_split_without_a_sequence_around_it() -> None:
    other = tokenizer()
    other["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": PATTERN}}
    assert vocab.parse_vocabulary(other, 300).pre_tokenizer == "gpt-4o"


def test_added_tokens_that_are_not_special() -> None:
    content = tokenizer()
    content["added_tokens"].append({"id": 280, "content": "<mine>", "special": False})
    assert vocab.parse_vocabulary(content, 300).types[280] == vocab.USER_DEFINED


def test_the_demo_model_is_understood() -> None:
    content = json.loads((resources() / "demo-model" / "tokenizer.json").read_text())
    config = json.loads((resources() / "demo-model" / "config.json").read_text())
    vocabulary = vocab.parse_vocabulary(content, config["vocab_size"])
    assert len(vocabulary.merges) == len(content["model"]["merges"])
    assert vocab.CONTROL in vocabulary.types


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("model", "type"), "WordPiece", "BPE"),
        (("model", "vocab"), None, "BPE"),
        (("model", "vocab", "a"), 300, "300 tokens"),
        (("model", "vocab", "a"), -1, "300 tokens"),
        (("model", "vocab", "a"), "1", "usable id"),
        (("model", "vocab", "a"), 256, "both"),
        (("model", "vocab", "[PAD299]"), 290, "several ids"),
        (("model", "vocab", "<|end|>"), 290, "several ids"),
        (("model", "vocab", "\ud800"), 290, "Unicode"),
        (("model", "vocab", "a"), True, "usable id"),
        (("model", "merges"), {"a b": 1}, "no list"),
        (("model", "merges"), 7, "no list"),
        (("model", "merges"), [["a", "b c"]], "merge"),
        (("model", "merges"), ["ab "], "merge"),
        (("model", "merges"), ["ab"], "merge"),
        (("model", "merges"), [["a", "b\nc d"]], "merge"),
        (("model", "merges"), [["a", "b"], ["a\nb", "c d"]], "merge"),
        (("model", "merges"), [["a", "\udfff"]], "merge"),
        (("model", "merges"), [["a"]], "merge"),
        (("model", "merges"), ["a b c"], "merge"),
        (("model", "merges"), [[1, 2]], "merge"),
        (("added_tokens",), [], "<|startoftext|>"),
        (("added_tokens",), [{"id": [], "content": "x"}], "usable id"),
        (("added_tokens",), [{"id": 280, "content": "a" * 10**6}, {"id": 280, "content": "b"}], "both"),
        (("pre_tokenizer",), None, "pre-tokenizer"),
        (("pre_tokenizer", "pretokenizers"), [{"type": "Split", "pattern": {"Regex": [PATTERN]}}], "pre-tokenizer"),
        (("pre_tokenizer", "pretokenizers"), [{"type": "Split", "pattern": PATTERN}], "pre-tokenizer"),
        (("pre_tokenizer", "pretokenizers"), [{"type": "Split", "pattern": {"Regex": ".+"}}], "pre-tokenizer"),
    ],
)
def test_what_is_not_gpt_oss_is_refused(path: tuple[str, ...], value: object, words: str) -> None:
    content = tokenizer()
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ConvertError) as caught:
        vocab.parse_vocabulary(content, 300)
    assert words in str(caught.value)
    assert "tokenizer.json" in str(caught.value)
    assert len(str(caught.value)) < 400
