"""Errors of the user's world keep their words through processes and languages."""

from __future__ import annotations

import pickle

from inglenook.core.errors import ErrorInfo, UserError


def test_text_has_its_arguments() -> None:
    assert (
        str(UserError("{path} is missing. Choose another file.", path="/a b"))
        == "/a b is missing. Choose another file."
    )


def test_braces_in_arguments_are_not_fields() -> None:
    assert str(UserError("{path} is missing.", path="{x}")) == "{x} is missing."


def test_it_crosses_a_process_boundary() -> None:
    error = UserError("{n} bytes are missing.", n=12)
    back = pickle.loads(pickle.dumps(error))
    assert back.info == error.info == ErrorInfo("{n} bytes are missing.", (("n", "12"),))
    assert str(back) == "12 bytes are missing."
