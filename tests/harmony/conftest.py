"""openai-harmony as the oracle, with the real vocabulary."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import openai_harmony as oh
import pytest
from tests.harmony.streams import CONTROL, FORMAT_WORDS, Vocabulary

PACKAGING = Path(__file__).parent.parent.parent / "packaging"


@pytest.fixture(scope="session")
def encoding() -> oh.HarmonyEncoding:
    """The library's encoding of gpt-oss; loaded once (it takes 0.4 s and 84 MB each time)."""
    spec = importlib.util.spec_from_file_location("inglenook_packaging_o200k", PACKAGING / "o200k.py")
    o200k = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(o200k)
    folder = o200k.cache_folder()
    if not (folder / o200k.FILE).is_file():
        pytest.fail(f"{folder / o200k.FILE} is missing. Run: python packaging/bootstrap.py test", pytrace=False)
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(folder)
    return oh.load_harmony_encoding(oh.HarmonyEncodingName.HARMONY_GPT_OSS)


class SpecialIds(dict[str, int]):
    """A thousand ids, which hypothesis would print with each failing example (and warn that it is too much)."""

    def __repr__(self) -> str:
        return f"<{len(self)} special ids>"


@pytest.fixture(scope="session")
def special_ids(encoding: oh.HarmonyEncoding) -> SpecialIds:
    """Ids of all control tokens by name, as `ModelInfo.specials` would have them."""
    return SpecialIds((name, encoding.encode(name, allowed_special="all")[0]) for name in encoding.special_tokens_set)


@pytest.fixture(scope="session")
def vocabulary(encoding, special_ids) -> Vocabulary:
    """Ids and bytes of the real vocabulary."""
    return Vocabulary(encoding, special_ids)


@pytest.fixture(scope="session")
def likely(vocabulary) -> list[int]:
    """Tokens that matter to a header, and one that the vocabulary does not have."""
    found = [vocabulary.specials[name] for name in CONTROL]
    return [*found, *(i for word in FORMAT_WORDS for i in vocabulary.text(word)), 201_099]
