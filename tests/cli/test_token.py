"""`inglenook models token` without a keyring; with one see tests/library/remote/test_access_token.py."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Program

SECRET = "hf_a_secret_that_is_long"


def test_without_a_keyring_it_says_so_and_writes_it_nowhere(program: Program, home: Path) -> None:
    done = program("models", "token", input=SECRET + "\n")
    assert done.returncode == 1
    assert "no keyring" in done.stderr
    assert SECRET not in done.stderr + done.stdout
    for file in home.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def test_what_is_no_token_is_refused(program: Program) -> None:
    done = program("models", "token", input="two words\n")
    assert done.returncode == 2
    assert "no access token" in done.stderr


def test_to_remove_none_is_no_error(program: Program) -> None:
    done = program("models", "token", "--remove")
    assert (done.returncode, done.stdout) == (0, "")
