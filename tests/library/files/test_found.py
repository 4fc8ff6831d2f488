"""Models of other programs: made-up folders as those programs make them, and all that can be odd about them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine import random_model

from inglenook.library.files import found as module
from inglenook.library.files.found import Found, Layout, Place, look, places

DIGEST = "27cd6c432c7672cb812a92f611cf3ba7bbc35928262bb1e1253ff4ee6ae35901"


@pytest.fixture(scope="module")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt-oss file of more than a megabyte."""
    return longer(random_model.write(tmp_path_factory.mktemp("model") / "model.gguf"))


def longer(path: Path) -> Path:
    with path.open("ab") as file:
        file.write(bytes(1 << 20))
    return path


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def other(path: Path, arch: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return longer(random_model.write(path, arch=arch))


def found_in(folder: Path, layout: Layout = Layout.GGUF) -> list[Found]:
    return look([Place("Somebody", folder, layout)])


def test_every_gpt_oss_is_found_and_nothing_else(tmp_path: Path, gpt_oss: Path) -> None:
    wanted = copy(gpt_oss, tmp_path / "owner" / "repo" / "gpt-oss-20b.gguf")
    other(tmp_path / "owner" / "llama" / "llama.gguf", "llama")
    copy(gpt_oss, tmp_path / "owner" / ".gpt-oss-20b.gguf")  # ours, while it arrives
    copy(gpt_oss, tmp_path / "model.bin")
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "garbage.gguf").write_bytes(os.urandom(2 << 20))
    (one,) = found_in(tmp_path)
    assert one == Found(wanted, "Somebody", "gpt-oss-20b", wanted.stat().st_size, (wanted,))


def test_the_hubs_links_are_one_model(tmp_path: Path, gpt_oss: Path) -> None:
    model = tmp_path / "models--ggml-org--gpt-oss-20b-GGUF"
    blob = copy(gpt_oss, model / "blobs" / DIGEST)
    for revision in ("ef9b12f2", "e1dc459f"):
        snapshot = model / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "gpt-oss-20b.gguf").symlink_to(Path("../../blobs") / blob.name)
    (one,) = found_in(tmp_path)
    assert one.title == "gpt-oss-20b"
    assert one.path.parent.parent.name == "snapshots"
    assert one.problem is None


def test_links_that_lead_nowhere_or_round_in_circles(tmp_path: Path, gpt_oss: Path) -> None:
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.gguf").symlink_to(tmp_path / "self.gguf")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    elsewhere = copy(gpt_oss, tmp_path.parent / f"{tmp_path.name}-drive" / "real.gguf")
    (tmp_path / "drive").symlink_to(elsewhere.parent)
    (one,) = found_in(tmp_path)
    assert one.path == tmp_path / "drive" / "real.gguf"


def test_ollamas_blobs_have_the_names_of_its_manifests(tmp_path: Path, gpt_oss: Path) -> None:
    blob = copy(gpt_oss, tmp_path / "blobs" / f"sha256-{DIGEST}")
    theirs = other(tmp_path / "blobs" / f"sha256-{'1' * 64}", "gptoss")
    (tmp_path / "blobs" / f"sha256-{'2' * 64}").write_bytes(bytes(2 << 20))
    (tmp_path / "blobs" / f"sha256-{'3' * 64}-partial").write_bytes(gpt_oss.read_bytes())
    library = tmp_path / "manifests" / "registry.ollama.ai" / "library"
    for name, tag, digest in (("mine", "latest", DIGEST), ("gpt-oss", "20b", "1" * 64)):
        layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]
        (library / name).mkdir(parents=True)
        (library / name / tag).write_text(json.dumps({"layers": [*layers, {"mediaType": "x", "digest": "y"}]}))
    (library / "mine" / "broken").write_text("[" * 100_000)
    (library / "mine" / "odd").write_text('{"layers": [1]}')
    refused, good = found_in(tmp_path, Layout.OLLAMA)
    assert (good.title, good.path, good.problem) == ("mine:latest", blob, None)
    assert (refused.title, refused.path) == ("gpt-oss:20b", theirs)
    assert refused.problem is not None
    assert "gptoss" in refused.problem.text()


def test_an_ollama_blob_without_a_manifest(tmp_path: Path, gpt_oss: Path) -> None:
    copy(gpt_oss, tmp_path / "blobs" / f"sha256-{DIGEST}")
    (one,) = found_in(tmp_path, Layout.OLLAMA)
    assert one.title == "sha256-27cd6c4…"


def test_a_model_in_parts_is_one(tmp_path: Path, gpt_oss: Path) -> None:
    parts = [copy(gpt_oss, tmp_path / f"big-{n:05d}-of-00003.gguf") for n in (1, 2, 3)]
    (one,) = found_in(tmp_path)
    assert one.files == tuple(parts)
    assert one.size == 3 * gpt_oss.stat().st_size
    parts[1].unlink()
    (one,) = found_in(tmp_path)
    assert one.problem is not None
    assert "missing" in one.problem.text()


def test_a_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = random_model.write(tmp_path / "cut.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    assert found_in(tmp_path) == []  # too small to be looked at
    head = path.read_bytes()
    size = 1 << 62
    path.write_bytes(head[:8] + (99).to_bytes(8, "little") + head[16:] + bytes(1 << 20))
    (one,) = found_in(tmp_path)
    assert one.problem is not None
    assert "cut.gguf" in one.problem.text()
    assert one.size < size


def test_a_huge_file_costs_no_reading(tmp_path: Path, gpt_oss: Path) -> None:
    path = copy(gpt_oss, tmp_path / "huge.gguf")
    with path.open("r+b") as file:
        file.truncate(60 << 30)  # sparse
    (one,) = found_in(tmp_path)
    assert one.size == 60 << 30


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root and Windows may read everything")
def test_a_folder_that_is_closed_to_us_is_told(tmp_path: Path, gpt_oss: Path) -> None:
    copy(gpt_oss, tmp_path / "closed" / "m.gguf")
    (tmp_path / "closed").chmod(0)
    (one,) = found_in(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert one.path == tmp_path / "closed"
    assert one.problem is not None


def test_a_closed_folder_does_not_hide_the_rest(tmp_path: Path, gpt_oss: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for tests that run as root."""
    copy(gpt_oss, tmp_path / "closed" / "m.gguf")
    copy(gpt_oss, tmp_path / "open" / "o.gguf")
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(module.os, "scandir", refuse)
    told = {one.path.name: one.problem is not None for one in found_in(tmp_path)}
    assert told == {"closed": True, "o.gguf": False}


def test_no_more_than_so_many_entries(tmp_path: Path, gpt_oss: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path.joinpath(*"abcdefghijk")
    copy(gpt_oss, deep / "deep.gguf")
    assert found_in(tmp_path) == []
    copy(gpt_oss, tmp_path / "a" / "b" / "shallow.gguf")
    assert [one.title for one in found_in(tmp_path)] == ["shallow"]
    monkeypatch.setattr(module, "MAX_ENTRIES", 1)
    assert found_in(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "no", tmp_path / "file"):
        assert found_in(path) == []
        assert found_in(path, Layout.OLLAMA) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 4000), value=st.binary(min_size=1, max_size=8))
def test_whatever_a_header_says_nothing_is_raised(tmp_path: Path, gpt_oss: Path, place: int, value: bytes) -> None:
    data = bytearray(gpt_oss.read_bytes())
    data[place : place + len(value)] = value
    (tmp_path / "mutated.gguf").write_bytes(data)
    assert len(found_in(tmp_path)) <= 1


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_places_of_each_system(tmp_path: Path, system: str) -> None:
    owners = {place.owner for place in places(tmp_path, {}, system)}
    assert owners == {"Hugging Face", "LM Studio", "Jan", "llama.cpp", "Ollama"}


def test_places_that_the_user_moved(tmp_path: Path) -> None:
    moved = {name: str(tmp_path / name) for name in ("HF_HUB_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS")}
    folders = [place.folder for place in places(Path("/home/u"), moved, "linux")]
    assert all(Path(folder) in folders for folder in moved.values())
    assert tmp_path / "hf" / "hub" in [p.folder for p in places(tmp_path, {"HF_HOME": str(tmp_path / "hf")}, "linux")]
