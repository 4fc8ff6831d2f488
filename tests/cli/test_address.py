"""`inglenook models get OWNER/NAME`: any repository, as a program."""

from __future__ import annotations

from .test_models import REPOSITORY, User, user  # noqa: F401  # a fixture


def test_get_by_address(user: User) -> None:  # noqa: F811
    user.hub.files.clear()
    user.hub.add("mine.gguf", user.gguf.read_bytes())
    done = user.run("get", REPOSITORY)
    assert done.returncode == 0, done.stderr
    file = user.models / REPOSITORY / "mine.gguf"
    assert done.stdout == f"{file}\n"
    assert file.read_bytes() == user.gguf.read_bytes()
    assert user.listed()[f"{REPOSITORY}/mine.gguf"]["path"] == str(file)


def test_which_of_several(user: User) -> None:  # noqa: F811
    user.hub.files.clear()
    for name in ("a.gguf", "b.gguf"):
        user.hub.add(name, user.gguf.read_bytes())
    told = user.fails(2, "get", REPOSITORY)
    assert f"{REPOSITORY}/a.gguf, {REPOSITORY}/b.gguf" in told
    assert user.run("get", f"{REPOSITORY}/b.gguf").returncode == 0
    assert not (user.models / REPOSITORY / "a.gguf").exists()


def test_another_server_is_refused(user: User) -> None:  # noqa: F811
    assert "not from evil.example" in user.fails(1, "get", "https://evil.example/a/b")
    assert not user.hub.seen
