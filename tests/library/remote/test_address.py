"""What people paste for a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.core.errors import UserError
from inglenook.library.remote.address import Address, parse

PAGE = "https://huggingface.co/ggml-org/gpt-oss-20b-GGUF"
NAME = "ggml-org/gpt-oss-20b-GGUF"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (NAME, Address(NAME)),
        (f" {NAME}\n", Address(NAME)),
        (f"{NAME}@v1.0", Address(NAME, "v1.0")),
        (f"{NAME}/in/x.gguf", Address(NAME, name="in/x.gguf")),
        (f"{NAME}:Q4_K_M", Address(NAME, tag="Q4_K_M")),
        (PAGE, Address(NAME)),
        (PAGE + "/", Address(NAME)),
        (PAGE + "/blob/main", Address(NAME)),
        (PAGE + "/tree/abc", Address(NAME, "abc")),
        (PAGE + "/tree/main/some/folder", Address(NAME)),
        (PAGE + "/blob/main/a%20b.gguf?download=true#x", Address(NAME, "main", "a b.gguf")),
        (PAGE + "/resolve/main/in/x.gguf", Address(NAME, "main", "in/x.gguf")),
        (f"hf.co/{NAME}:MXFP4", Address(NAME, tag="MXFP4")),
        (f"HuggingFace.co/{NAME}", Address(NAME)),
    ],
)
def test_understood(text: str, address: Address) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "gpt-oss-20b", "../x", "a/..", "javascript:alert(1)", "file:///etc/passwd", "ftp://huggingface.co/a/b",
     "https://huggingface.co/a", "https://huggingface.co/datasets/a/b/c", "https://[", "a/b@../x", "a/b@x/y",
     "https://huggingface.co/a%2f..%2fb/c", "x" * 3000],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        f"https://evil.example/{NAME}",
        f"https://huggingface.co.evil.example/{NAME}",
        f"https://huggingface.co@evil.example/{NAME}",
    ],
)
def test_other_servers_are_refused_but_for_the_mirror(text: str) -> None:
    with pytest.raises(UserError, match="and not from"):
        parse(text)
    assert parse(f"https://mirror.example/{NAME}", "https://mirror.example").repository == NAME


@given(st.text(max_size=80) | st.text("abc./:@%-_#?", max_size=40).map(lambda t: "https://hf.co/" + t))
def test_anything_is_understood_or_refused(text: str) -> None:
    try:
        address = parse(text)
    except UserError:
        return
    assert address.repository.count("/") == 1
    assert ".." not in address.repository
