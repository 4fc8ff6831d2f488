"""Models in any repository, from the loopback Hub."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.library.fetching import TOKEN, Client, some_bytes
from tests.library.hub import COMMIT, REPOSITORY, Fault, LoopbackHub

from inglenook.core.errors import UserError
from inglenook.core.paths import resources
from inglenook.library.catalogue import Entry, Format
from inglenook.library.remote import repository
from inglenook.library.remote.address import Address
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.remote.repository import check_remote, models_at

HERE = Address(REPOSITORY)


@pytest.fixture
def empty(tmp_path: Path, hub: LoopbackHub) -> Client:
    """Nothing in the repository yet."""
    return Client(tmp_path, hub, TOKEN)


def test_files_sets_of_files_and_a_checkpoint(empty: Client, hub: LoopbackHub) -> None:
    for name in ("a-Q4.gguf", "in/b.gguf", "set-00002-of-00002.gguf", "set-00001-of-00002.gguf", "x.safetensors",
                 "lost-00001-of-00003.gguf", "README.md", "y.bin"):  # fmt: skip
        hub.add(name, some_bytes(50))
    hub.add("config.json", b"{}", small=True)
    models = models_at(empty.hub, HERE)
    assert [(m.key.removeprefix(f"{REPOSITORY}/"), m.format, [f.name for f in m.files]) for m in models] == [
        ("a-Q4.gguf", Format.GGUF, ["a-Q4.gguf"]),
        ("in/b.gguf", Format.GGUF, ["in/b.gguf"]),
        ("set-00001-of-00002.gguf", Format.GGUF, ["set-00001-of-00002.gguf", "set-00002-of-00002.gguf"]),
        (REPOSITORY, Format.SAFETENSORS, ["config.json", "x.safetensors"]),
    ]
    assert {m.revision for m in models} == {COMMIT}
    assert models[0].licence == "apache-2.0"
    assert models[0].files[0].digest == hub.digest("a-Q4.gguf")
    assert [m.title for m in models_at(empty.hub, replace(HERE, tag="q4"))] == ["a-Q4"]
    assert [m.title for m in models_at(empty.hub, replace(HERE, name="in/b.gguf"))] == ["b"]


@pytest.mark.parametrize(
    "name", ["../x.gguf", "/x.gguf", "a/../../x.gguf", "con.gguf", "a\\b.gguf", "a\u202eb.gguf", ".x.gguf"]
)
def test_names_that_lead_elsewhere_are_left_out(empty: Client, hub: LoopbackHub, name: str) -> None:
    hub.add(name, some_bytes(50))
    with pytest.raises(UserError, match="no model"):
        models_at(empty.hub, HERE)


def test_a_repository_without_models(empty: Client, hub: LoopbackHub) -> None:
    hub.add("README.md", b"hello")
    with pytest.raises(UserError, match="no model"):
        models_at(empty.hub, HERE)


@pytest.mark.parametrize("no_ranges", [False, True])
@pytest.mark.parametrize("first", [1 << 24, 1000])
def test_the_header_is_checked_before_the_rest_is_fetched(
    empty: Client, hub: LoopbackHub, demo_gguf: Path, monkeypatch: pytest.MonkeyPatch, first: int, no_ranges: bool
) -> None:
    whole = demo_gguf.read_bytes()
    hub.add("demo.gguf", whole)
    hub.always = Fault(no_ranges=no_ranges)
    monkeypatch.setattr(repository, "_FIRST", first)
    (model,) = models_at(empty.hub, HERE)
    checked = check_remote(empty.hub, model)
    assert (checked.layers, checked.experts) == (4, 4)
    assert replace(checked, layers=model.layers, experts=model.experts) == model
    assert {request.purpose for request in empty.traffic.requests()} == {"look-up"}


def test_only_the_beginning_is_fetched(
    empty: Client, hub: LoopbackHub, demo_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inglenook_convert.headers import check_gguf

    header = check_gguf(demo_gguf).data_offset
    hub.add("demo.gguf", demo_gguf.read_bytes())
    monkeypatch.setattr(repository, "_FIRST", header)
    (model,) = models_at(empty.hub, HERE)
    check_remote(empty.hub, model)
    asked = [seen.headers["Range"] for seen in hub.requests("store")]
    assert asked == [f"bytes=0-{header - 1}"]


def spoiled(kind: str, demo: bytes) -> bytes:
    match kind:
        case "text":
            return b"This is not a model." * 100
        case "another architecture":
            return demo.replace(b"gpt-oss", b"llama-x")
        case "cut off":
            return demo[:-100]
        case "endless header":
            return demo[:8] + (1 << 15).to_bytes(8, "little") + demo[16:]
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["text", "another architecture", "cut off", "endless header"])
def test_what_is_no_gpt_oss_is_not_fetched(empty: Client, hub: LoopbackHub, demo_gguf: Path, kind: str) -> None:
    hub.add("x.gguf", spoiled(kind, demo_gguf.read_bytes()))
    (model,) = models_at(empty.hub, HERE)
    with pytest.raises(UserError, match=r"x\.gguf is not fetched: ") as raised:
        check_remote(empty.hub, model)
    assert "/tmp" not in str(raised.value)


def test_a_hub_that_is_gone(empty: Client, hub: LoopbackHub, demo_gguf: Path) -> None:
    hub.add("demo.gguf", demo_gguf.read_bytes())
    (model,) = models_at(empty.hub, HERE)
    hub.__exit__()
    with pytest.raises(UserError, match="cannot be reached"):
        check_remote(empty.hub, model)


def test_the_token_goes_to_the_hub_alone(empty: Client, hub: LoopbackHub, demo_gguf: Path) -> None:
    hub.add("demo.gguf", demo_gguf.read_bytes())
    (model,) = models_at(empty.hub, HERE)
    check_remote(empty.hub, model)
    assert hub.requests("hub")
    assert hub.requests("store")
    assert all("Authorization" in seen.headers for seen in hub.requests("hub"))
    assert not any("Authorization" in seen.headers for seen in hub.requests("store"))


def test_files_of_another_commit_are_the_ones_that_were_listed(empty: Client, hub: LoopbackHub) -> None:
    hub.add("a.gguf", some_bytes(50))
    (model,) = models_at(empty.hub, HERE)
    assert model.remote() == (RemoteFile(REPOSITORY, COMMIT, "a.gguf", 50, hub.digest("a.gguf")),)


def with_config(hub: LoopbackHub, client: Client, config: bytes) -> Entry:
    hub.add("config.json", config, small=True)
    hub.add("x.safetensors", some_bytes(50))
    (model,) = models_at(client.hub, HERE)
    return model


def test_a_checkpoint_is_checked_by_its_config(empty: Client, hub: LoopbackHub) -> None:
    config = (resources() / "demo-model" / "config.json").read_bytes()
    checked = check_remote(empty.hub, with_config(hub, empty, config))
    assert (checked.layers, checked.experts) == (4, 4)
    assert not hub.requests("store")


@pytest.mark.parametrize("config", [b'{"model_type": "llama"}', b"{", b"[]", b"[" * 100_000, b" " * (2 << 20)])
def test_a_checkpoint_of_another_model_is_not_fetched(empty: Client, hub: LoopbackHub, config: bytes) -> None:
    model = with_config(hub, empty, config)
    with pytest.raises(UserError, match="is not fetched"):
        check_remote(empty.hub, model)
    assert not hub.requests("store")


@pytest.mark.parametrize("commit", ["main", "../../evil", "f" * 39, 7])
def test_a_listing_without_a_commit_is_none(
    empty: Client, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, commit: object
) -> None:
    hub.add("x.gguf", some_bytes(50))
    monkeypatch.setattr("tests.library.hub.COMMIT", commit)
    with pytest.raises(UserError, match="sent no list"):
        models_at(empty.hub, HERE)


def test_the_first_of_several_files_may_hold_the_header_alone(empty: Client, hub: LoopbackHub, tmp_path: Path) -> None:
    target = tmp_path / "set.gguf"
    command = [sys.executable, "-m", "inglenook_convert", str(resources() / "demo-model"), "-o", str(target)]
    subprocess.run([*command, "--split-max-size", "1M"], check=True, capture_output=True)
    for part in tmp_path.glob("set-*.gguf"):
        hub.add(part.name, part.read_bytes())
    (model,) = models_at(empty.hub, HERE)
    assert len(model.files) > 1
    assert check_remote(empty.hub, model).layers == 4
