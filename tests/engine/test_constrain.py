"""A generation held to messages and grammars: by the real grammar, over every byte and control token."""

from __future__ import annotations

import numpy as np
import pytest

from inglenook.core.constraint import Constraint, Form
from inglenook.core.errors import UserError
from inglenook.core.prompt import Special, Text
from inglenook.engine import llama
from inglenook.engine.constrain import Guard, Lexicon

CHANNEL, MESSAGE = Special("<|channel|>"), Special("<|message|>")
FREE = Form((CHANNEL, Text("analysis"), MESSAGE), "<|end|>")
BEGIN = (Special("<|start|>"), Text("assistant"))
STRING = r'root ::= "\"" [^"\\\x00-\x1F]* "\""'


def constraint(grammar: str) -> Constraint:
    final = (CHANNEL, Text("final"), MESSAGE)
    return Constraint((FREE, Form(final, "<|return|>", grammar)), BEGIN)


@pytest.fixture(scope="session")
def lexicon(random_llama: llama.Model) -> Lexicon:
    return Lexicon(random_llama)


@pytest.fixture
def make(random_llama: llama.Model, lexicon: Lexicon):
    """Makes guards; `said` comes after `<|start|>assistant`."""
    guards = []

    def guard(grammar: str, *said: str | bytes) -> Guard:
        guards.append(Guard(constraint(grammar), lexicon, lambda text: llama.Grammar(random_llama, text)))
        guards[-1].resume([*ids(random_llama, "<|start|>"), *ids(random_llama, b"assistant")])
        for part in said:
            for token in ids(random_llama, part):
                assert guards[-1].allows(token), part
                guards[-1].take(token)
        return guards[-1]

    yield guard
    for one in guards:
        one.close()


FINAL = ("<|channel|>", b"final", "<|message|>")


def ids(model: llama.Model, part: str | bytes) -> list[int]:
    """A control token by its name, or the tokens of bytes."""
    if isinstance(part, str):
        return [model.specials[part]]
    of_byte = {model.piece(i): i for i in range(model.n_vocab) if i not in model.specials.values()}
    return [of_byte[bytes([b])] for b in part]


def names(guard: Guard, model: llama.Model, lexicon: Lexicon) -> set[bytes]:
    """All that is allowed, which is the same one by one and all at once."""
    mask = guard.allowed(lexicon.all)
    assert mask.tolist() == [guard.allows(i) for i in range(model.n_vocab)]
    some = lexicon.all[3::7]
    assert (guard.allowed(some) == mask[some]).all()
    return {model.piece(int(i)) for i in np.flatnonzero(mask)}


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ((), {b"<|channel|>"}),
        (("<|channel|>",), {b"a", b"f"}),
        (("<|channel|>", b"anal"), {b"y"}),
        (("<|channel|>", b"final"), {b"<|message|>"}),
        (("<|channel|>", b"analysis", "<|message|>", b"x", "<|end|>"), {b"<|start|>"}),
        (("<|channel|>", b"analysis", "<|message|>", "<|end|>", "<|start|>"), {b"a"}),
        ((*FINAL,), {b'"'}),
        ((*FINAL, b'"\xc3\xa9"'), {b"<|return|>"}),
    ],
)
def test_headers_and_ends(said, allowed: set[bytes], make, random_llama, lexicon) -> None:
    assert names(make(STRING, *said), random_llama, lexicon) == allowed


def test_reasoning_is_free(make, random_llama, lexicon) -> None:
    found = names(make(STRING, "<|channel|>", b"analysis", "<|message|>", b"{\xff<|"), random_llama, lexicon)
    assert {bytes([b]) for b in range(256)} <= found
    assert {name for name in found if len(name) > 3} == {b"<|end|>"}


def test_text_is_utf8(make, random_llama, lexicon) -> None:
    """Every byte after every one that may begin a character: as Python's strict decoder has it."""
    text = (*FINAL, b'"')
    inside = names(make(STRING, *text), random_llama, lexicon)
    firsts = [b for b in inside if b[0] >= 0x80]
    assert {b[0] for b in firsts} == set(range(0xC2, 0xF5))
    for first in firsts:
        after = names(make(STRING, *text, first), random_llama, lexicon)
        low = {0xE0: 0xA0, 0xF0: 0x90}.get(first[0], 0x80)
        high = {0xED: 0x9F, 0xF4: 0x8F}.get(first[0], 0xBF)
        assert {b[0] for b in after} == set(range(low, high + 1)), first


def test_control_tokens_and_control_characters_are_no_text(make, random_llama, lexicon) -> None:
    """llama.cpp's own grammar would take the names of control tokens for text: shown here, as the control."""
    inside = names(make("root ::= .*", *FINAL), random_llama, lexicon)
    assert b"<|end|>" not in inside
    assert b"<|channel|>" not in inside
    assert b"\x00" not in inside
    assert b"\x7f" in inside
    grammar = llama.Grammar(random_llama, "root ::= .*")
    assert grammar.allows(random_llama.specials["<|end|>"])
    grammar.close()


def test_pairs_of_letters_are_looked_into(make, random_llama, lexicon) -> None:
    assert names(make('root ::= "ab" | "ac"', *FINAL), random_llama, lexicon) == {b"a", b"ab"}
    assert names(make('root ::= "aab"', *FINAL), random_llama, lexicon) == {b"a"}
    assert names(make('root ::= "aab"', *FINAL, b"a"), random_llama, lexicon) == {b"a", b"ab"}


def test_the_second_byte_where_many_tokens_have_the_first(make, random_llama, lexicon, monkeypatch) -> None:
    monkeypatch.setattr("inglenook.engine.constrain._MANY", 0)
    assert names(make('root ::= " "? "ab" | "c" [d-f]', *FINAL), random_llama, lexicon) == {b" ", b"a", b"ab", b"c"}
    assert names(make('root ::= " "? "ac"', *FINAL), random_llama, lexicon) == {b" ", b"a"}


def test_a_grammar_that_is_none(make) -> None:
    for wrong in ("root ::= ", "root ::= root", "other ::= [a]", "root ::= [a", 'root ::= "a"{3000}'):
        with pytest.raises(UserError):
            make(wrong + "(" if wrong == "root ::= " else wrong)


def test_a_prompt_that_ends_within_the_answer_goes_on_there(random_llama, lexicon) -> None:
    def resumed(*said: str | bytes) -> Guard:
        guard = Guard(constraint(STRING), lexicon, lambda text: llama.Grammar(random_llama, text))
        prompt = ["<|start|>", b"user", "<|message|>", "<|end|>", "<|start|>", b"assistant", *said]
        guard.resume([i for part in prompt for i in ids(random_llama, part)])
        return guard

    guard = resumed(*FINAL)
    assert names(guard, random_llama, lexicon) == {b'"'}
    for said in (("<|channel|>", b"commentary"), (b"x",), ("<|message|>",)):
        with pytest.raises(UserError):
            resumed(*said)


def test_put_in_tokens(make, random_llama, lexicon) -> None:
    """The way out of the reasoning follows; what does not follow changes nothing."""
    guard = make(STRING, "<|channel|>", b"analysis", "<|message|>", b"hm")
    close = ("<|end|>", "<|start|>", b"assistant", "<|channel|>")
    wrong = [i for part in (*close, b"nowhere", "<|message|>") for i in ids(random_llama, part)]
    right = [i for part in (*close, b"final", "<|message|>") for i in ids(random_llama, part)]
    before = names(guard, random_llama, lexicon)
    assert not guard.takes(wrong)
    assert names(guard, random_llama, lexicon) == before
    assert guard.takes(right)
    assert names(guard, random_llama, lexicon) == {b'"'}
    assert not guard.takes(ids(random_llama, b'"'))


def test_a_model_without_such_tokens(random_llama, lexicon) -> None:
    other = Constraint((Form((Special("<|nothing|>"),), "<|return|>"),), BEGIN)
    with pytest.raises(UserError, match="nothing"):
        Guard(other, lexicon, lambda text: llama.Grammar(random_llama, text))
