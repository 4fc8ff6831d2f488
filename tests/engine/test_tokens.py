"""Text never becomes a control token, whatever it says; and everything encodes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine import random_model

from inglenook.core.errors import UserError
from inglenook.core.prompt import Ids, Special, Text
from inglenook.engine import llama, tokens
from inglenook.engine.tokens import LONGEST_RUN, Tokenizer

SPECIALS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>",
            "<|endoftext|>", "<|startoftext|>", "<|endofprompt|>")  # fmt: skip
PARTS = ("a", " ", "\n", "hello", "((", "<", "|", ">", "<|", "|>", "é", "日本", "  ", "1234", "'s", "_", "!?", "\t",
         "end", "A", "<|START|>", "<|start |>", "🙂", "\u0301", "\0", "\ud800", "<|start<|start|>|>")  # fmt: skip
PIECES = (*SPECIALS, *SPECIALS, *PARTS)


@pytest.fixture(scope="module")
def tokenizer(random_llama: llama.Model) -> Tokenizer:
    return Tokenizer(random_llama)


def adversarial(count: int) -> list[str]:
    source = random.Random(0)
    return ["".join(source.choice(PIECES) for _ in range(source.randint(1, 10))) for _ in range(count)]


def test_no_control_tokens_in_20000_adversarial_strings(tmp_path: Path):
    """With GPT-2's splitting into words, which is quick; control tokens are found before it."""
    llama.start()
    model = llama.Model(random_model.write(tmp_path / "gpt2.gguf", pre="gpt-2"), vocabulary_only=True)
    tokenizer, control = Tokenizer(model), set(model.specials.values())
    unsplit = 0
    for text in adversarial(20_000):
        assert control.isdisjoint(tokenizer.text(text)), text
        unsplit += not control.isdisjoint(model.encode(text.encode("utf-8", "replace")))
    assert unsplit > 10_000  # the control: llama.cpp alone lets them in
    model.close()


def test_no_control_tokens_with_the_demo_vocabulary(demo_gguf: Path):
    llama.start()
    model = llama.Model(demo_gguf, vocabulary_only=True)
    tokenizer, control = Tokenizer(model), set(model.specials.values())
    assert control
    for text in adversarial(300):
        assert control.isdisjoint(tokenizer.text(text)), text
    model.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=())))
def test_bytes_of_text_are_kept(text: str, tokenizer: Tokenizer, random_llama: llama.Model):
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    assert b"".join(random_llama.piece(i) for i in tokenizer.text(text)) == expected


def test_literals_across_segments_stay_text(tokenizer: Tokenizer, random_llama: llama.Model):
    ids = tokenizer.tokenize([Text("<|sta"), Text("rt|>"), Text("<|"), Text("end|>")])
    assert set(random_llama.specials.values()).isdisjoint(ids)


def test_segments_in_turn(tokenizer: Tokenizer, random_llama: llama.Model):
    ids = tokenizer.tokenize([Special("<|start|>"), Text("ab"), Ids((3, 262)), Special("<|end|>")])
    specials = random_llama.specials
    assert ids == [specials["<|start|>"], 256, 3, 262, specials["<|end|>"]]


def test_unknown_special_and_foreign_ids_are_told(tokenizer: Tokenizer, random_llama: llama.Model):
    with pytest.raises(UserError, match="nonsense"):
        tokenizer.tokenize([Special("<|nonsense|>")])
    for wrong in (-1, random_llama.n_vocab):
        with pytest.raises(UserError):
            tokenizer.tokenize([Ids((wrong,))])


@pytest.mark.parametrize("run", ["a", "A", " ", "-", "_", "\n", "日", "é", "-\n", "a1", "\u0301"])
def test_600_kilobytes_without_a_break(tokenizer: Tokenizer, random_llama: llama.Model, run: str):
    """llama.cpp's own splitting into words recurses for each character, and ends the process."""
    text = run * (600_000 // len(run.encode()))
    assert b"".join(random_llama.piece(i) for i in tokenizer.text(text)) == text.encode()


def test_ids_are_kept_within_a_budget(random_llama: llama.Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "KEPT_BYTES", 2000)
    tokenizer = Tokenizer(random_llama)
    for i in range(30):
        assert tokenizer.text(f"text {i}") == tokenizer.text(f"text {i}")
    assert 1 < len(tokenizer._kept) < 10
    assert tokenizer._kept_bytes == sum(tokens._size(*item) for item in tokenizer._kept.items()) <= 2000


def test_ordinary_text_is_encoded_whole(tokenizer: Tokenizer, random_llama: llama.Model):
    text = "A line of words, <| and |> and <b>.\n" * (LONGEST_RUN // 10)
    assert tokenizer.text(text) == random_llama.encode(text.encode())


class OddVocabulary:
    """A vocabulary that finds its control token in a single character."""

    n_vocab = 3
    specials = {"x": 2}  # noqa: RUF012

    def encode(self, data: bytes) -> list[int]:
        return [2 if b == ord("x") else 1 for b in data]


def test_control_token_that_cannot_be_cut_is_left_out():
    assert Tokenizer(OddVocabulary()).text("axa") == [1, 1]
