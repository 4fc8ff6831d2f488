"""Checkpoints copied here and moved as GGUF files are: all of their files or none, whatever is odd about them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.library.files.test_transfer_kills import KILLS, killed_somewhere
from tests.library.files.test_transfers import every_block, other_drive
from tests.library.hub import COMMIT, REPOSITORY
from tests.library.transferring import KEPT, Desk, stick

from inglenook.library.catalogue import GPT_OSS_20B_ORIGINAL, CatalogueFile, Entry
from inglenook.library.files import copying, transfers
from inglenook.library.files.bin import Bin, Deleted
from inglenook.library.files.checkpoints import CONFIG, title_of
from inglenook.library.files.found import Found, Place, examine, look
from inglenook.library.files.transfers import Stage, TransferStatus
from inglenook.library.making.demo import demo_checkpoint

__all__ = ["every_block", "other_drive", "stick"]  # fixtures

PINNED = ("chat_template.jinja", "tokenizer.json", "model.safetensors")
LARGEST = "model.safetensors"

Content = dict[str, bytes]


@pytest.fixture(scope="module")
def content() -> Content:
    return {file.name: file.read_bytes() for file in demo_checkpoint().iterdir()}


@pytest.fixture
def entry(content: Content) -> Entry:
    """Published but for the README, and only some of it with a sha256, as on the Hub."""
    files = [
        CatalogueFile(name, len(data), hashlib.sha256(data).hexdigest() if name in PINNED else "")
        for name, data in sorted(content.items(), key=lambda one: len(one[1]))
        if name != "README.md"
    ]
    return replace(GPT_OSS_20B_ORIGINAL, repository=REPOSITORY, revision=COMMIT, files=tuple(files))


@pytest.fixture
def desk(tmp_path: Path, entry: Entry) -> Any:
    (tmp_path / "models").mkdir()
    desk = Desk(tmp_path / "models", entry)
    yield desk
    desk.transfers.close()


@pytest.fixture
def source(stick: Path) -> Path:
    return put(stick / "small")


def put(folder: Path) -> Path:
    return Path(shutil.copytree(demo_checkpoint(), folder))


def held(folder: Path) -> Content:
    """All that is in it but notes of what was verified."""
    files = (file for file in folder.iterdir() if file.suffix != ".verified")
    return {file.name: file.read_bytes() for file in files}


def left(desk: Desk) -> list[Path]:
    """Files among the models that are not our own records."""
    return [f for f in desk.models.rglob("*") if f.is_file() and not KEPT.fullmatch(f.name) and f.suffix != ".verified"]


def changed(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)


def index_of(file: str) -> bytes:
    return json.dumps({"weight_map": {"a": f"{file}.safetensors"}}).encode()


# -- found --


def test_it_is_found_as_one_model_of_all_its_files(source: Path, content: Content) -> None:
    (source / "film.mkv").write_bytes(b"x" * 1000)
    (source / ".hidden.json").touch()
    (source / "sub").mkdir()
    (one,) = look([Place("Somebody", source.parent)])
    assert (one.path, one.place, one.title, one.owner) == (source / CONFIG, source, "small", "Somebody")
    assert {file.name for file in one.files} == set(content)
    assert (one.files[0].name, one.files[-1].name) == (CONFIG, LARGEST)
    assert (one.size, one.problem, one.is_checkpoint) == (sum(map(len, content.values())), None, True)
    for name in (CONFIG, LARGEST):
        assert examine(source / name) == replace(one, owner="")


@pytest.mark.parametrize("what", ["other", "adapter", "text", "no weights", "coming", "pipe"])
def test_what_is_none_is_not_listed(source: Path, what: str) -> None:
    match what:
        case "other":
            (source / CONFIG).write_text(json.dumps({"model_type": "llama"}))
        case "adapter":
            (source / "adapter_config.json").write_text("{}")
        case "text":
            (source / CONFIG).write_bytes(b"\xff{" + b"[" * 100_000)
        case "no weights":
            (source / LARGEST).unlink()
        case "coming":
            (source / f"{LARGEST}.part").touch()
        case "pipe":
            (source / LARGEST).unlink()
            if not hasattr(os, "mkfifo"):
                pytest.skip("no pipes among files")
            os.mkfifo(source / LARGEST)
    assert look([Place("Somebody", source)]) == []


@pytest.mark.parametrize("what", ["cut", "missing shard", "index leads out"])
def test_what_is_wrong_with_it_is_told_before_anything_is_copied(desk: Desk, source: Path, what: str) -> None:
    whole = (source / LARGEST).read_bytes()
    if what == "cut":
        (source / LARGEST).write_bytes(whole[:-1000])
    else:
        file = "model-00002-of-00002.safetensors" if what == "missing shard" else f"../../{LARGEST}"
        (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": LARGEST, "b": file}}))
        (source.parent.parent / LARGEST).write_bytes(whole)
    (one,) = look([Place("Somebody", source)])
    assert one.problem is not None
    assert len(one.files) >= 8  # so that deleting it removes all of it
    status = desk.brings(source)
    assert (status.stage, status.text()) == (Stage.FAILED, one.problem.text())
    assert left(desk) == []


@given(
    config=st.binary(max_size=40) | st.just(b'{"model_type": "gpt_oss"}'),
    index=st.none() | st.binary(max_size=60) | st.text(max_size=20).map(index_of),
    weights=st.binary(max_size=60) | st.binary(max_size=40).map(lambda raw: len(raw).to_bytes(8, "little") + raw),
)
@example(config=b'{"model_type": "gpt_oss"}', index=index_of("\ud800"), weights=b"")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_it_is_told_and_never_an_error(
    tmp_path: Path, config: bytes, index: bytes | None, weights: bytes
) -> None:
    for name, data in ((CONFIG, config), ("model.safetensors.index.json", index), (LARGEST, weights)):
        (tmp_path / name).unlink(missing_ok=True)
        if data is not None:
            (tmp_path / name).write_bytes(data)
    found = examine(tmp_path / CONFIG)
    assert found is None or found.problem is not None


# -- copied --


def test_the_published_one_is_known_by_the_hashes_that_there_are(
    desk: Desk, source: Path, content: Content, entry: Entry, every_block: None
) -> None:
    status = desk.brings(source)
    assert status.stage is Stage.FINISHED, status.text()
    home = desk.models / REPOSITORY
    assert (status.path, status.place, status.entry) == (home / CONFIG, home, entry.key)
    assert held(home) == content  # with its README
    assert set(status.published.split(", ")) == set(PINNED)
    assert "Exactly as they were published" in status.text()
    assert held(source) == content
    assert len(left(desk)) == len(content)
    told = [one for one in desk.heard if one is not None and one.total]
    assert {one.total for one in told} == {sum(map(len, content.values()))}
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert len({one.done for one in told}) > 10
    assert any(one.rate > 0 and one.seconds_left is not None for one in told)
    assert "here already" in desk.brings(source).text()


def test_a_wrong_byte_sets_that_file_aside_and_uses_nothing(desk: Desk, source: Path, content: Content) -> None:
    changed(source, "tokenizer.json")
    status = desk.brings(source)
    assert status.stage is Stage.FAILED
    aside = desk.models / REPOSITORY / "tokenizer.json.wrong"
    assert "tokenizer.json is damaged or was changed" in status.text()
    assert left(desk) == [aside]
    (source / "tokenizer.json").write_bytes(content["tokenizer.json"])
    assert desk.brings(source).stage is Stage.FINISHED
    assert not aside.exists()


def test_one_that_nobody_knows_gets_a_folder_of_its_own(desk: Desk, source: Path) -> None:
    (source / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes() + b"\n")
    for name in ("small", "small (2)"):
        status = desk.brings(source.parent)  # the stick
        assert status.place == desk.models / "Imported" / name, status.text()
        assert held(desk.models / "Imported" / name) == held(source)
        assert (status.published, status.entry) == ("", "")
        assert "does not know it" in status.text()


def test_the_hubs_cache_with_its_links_is_copied_as_files(desk: Desk, stick: Path, content: Content) -> None:
    cache = stick / "models--somebody--small"
    folder = cache / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, (name, data) in enumerate(content.items()):
        (cache / "blobs" / str(number)).write_bytes(data)
        (folder / name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert title_of(folder / CONFIG) == "small"
    status = desk.brings(stick)
    assert status.place is not None, status.text()
    assert held(status.place) == content
    assert not any(file.is_symlink() for file in status.place.iterdir())


@pytest.mark.parametrize("how", ["file", "up", "gone", "folder"])
def test_links_in_the_folder_bring_nothing_from_elsewhere(desk: Desk, source: Path, tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    target = {"file": secret, "up": Path("..", "..", "secret.json"), "gone": Path("nowhere"), "folder": tmp_path}[how]
    (source / "extra.json").symlink_to(target)
    status = desk.brings(source)
    if how in ("file", "up"):
        assert "leads out of its folder" in status.text()
        assert left(desk) == []
    else:  # no file, so no part of it
        assert status.stage is Stage.FINISHED, status.text()
        assert not list(desk.models.rglob("extra.json"))


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made there")
@pytest.mark.parametrize("name", ["x\\..\\..\\evil.json", "C:evil.json", "a\nb.json"])
def test_names_that_would_lead_elsewhere_on_some_system(desk: Desk, source: Path, name: str) -> None:
    (source / name).write_text("{}")
    assert "not safe" in desk.brings(source).text()
    assert left(desk) == []


def test_a_folder_that_changes_while_it_is_copied_is_refused(
    desk: Desk, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copying.copy

    def changing(file: Path, *rest: Any) -> str:
        if file.name == LARGEST:
            data = bytearray(file.read_bytes())
            data[:8] = bytes(8)
            file.write_bytes(data)
        return copy(file, *rest)

    monkeypatch.setattr(transfers, "copy", changing)
    (source / "tokenizer_config.json").write_text("{}")  # so that it is not one that is known
    assert "not a safetensors file" in desk.brings(source).text()
    assert left(desk) == []


@pytest.mark.parametrize("how", ["import", "move"])
@pytest.mark.parametrize("fault", ["full", "cancel"])
def test_cancel_and_a_full_disk_leave_it_as_it_was(
    desk: Desk, source: Path, content: Content, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
    every_block: None, how: str, fault: str,
) -> None:  # fmt: skip
    stick, old = source.parent, desk.models / "Imported" / "mine"
    if how == "move":
        request.getfixturevalue("other_drive")
        source = put(old)
        shutil.rmtree(stick / "small")
    write, written = os.write, [0]

    def fill(descriptor: int, block: Any) -> int:
        written[0] += len(block)
        if fault == "full" and written[0] > 1_000_000:  # in the middle of the last file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, block)

    monkeypatch.setattr(copying.os, "write", fill)
    if fault == "cancel":
        desk.at = lambda status: desk.transfers.cancel() if status.done > 1_000_000 else None
    if how == "import":
        desk.transfers.start_import(source)
    else:
        desk.transfers.start_move(of(source), stick)
    status = desk.end()
    assert (status is None) == (fault == "cancel")
    assert status is None or "more room is needed" in status.text()
    assert held(source) == content
    assert len(left(desk)) == (0 if how == "import" else len(content))
    assert how == "import" or list(stick.iterdir()) == []


# -- moved --


def of(folder: Path) -> Found:
    found = examine(folder / CONFIG)
    assert found is not None
    return replace(found, owner="Inglenook", title="Mine")


def moves(desk: Desk, folder: Path, target: Path) -> TransferStatus:
    desk.transfers.start_move(of(folder), target)
    status = desk.end()
    assert status is not None
    return status


@pytest.mark.parametrize("drives", [1, 2])
def test_moved_away_and_home_again(
    desk: Desk, stick: Path, content: Content, request: pytest.FixtureRequest, drives: int
) -> None:
    if drives == 2:
        request.getfixturevalue("other_drive")
    name = REPOSITORY.rpartition("/")[2]
    (stick / name).mkdir()
    (stick / name / "other.safetensors").touch()  # not to be mixed with it
    assert desk.brings(demo_checkpoint()).stage is Stage.FINISHED
    home = desk.models / REPOSITORY
    there: set[tuple[Stage, bool]] = set()
    desk.at = lambda status: there.add((status.stage, (home / CONFIG).exists()))
    status = moves(desk, home, stick)
    away = stick / f"{name} (2)"
    assert (status.place, status.done) == (away, status.total), status.text()
    assert held(away) == content
    assert sorted(stick.iterdir()) == [stick / name, away]
    assert not home.exists()
    if drives == 2:
        assert {(Stage.COPYING, True), (Stage.CHECKING, True), (Stage.FINISHED, False)} <= there
    assert desk.moved.now(str(home / CONFIG)) == str(away / CONFIG)
    (kept,) = desk.moved.models()
    assert kept.files[0] == str(away / CONFIG)
    assert "already" in moves(desk, away, stick).text()
    assert moves(desk, away, desk.models).place == home
    assert held(home) == content
    assert not away.exists()
    assert desk.moved.models() == ()


def test_what_else_is_in_its_folder_stays(desk: Desk, stick: Path) -> None:
    old = put(desk.models / "Imported" / "mine")
    (old / "notes.odt").touch()
    assert moves(desk, old, stick).stage is Stage.FINISHED
    assert [file.name for file in old.iterdir()] == ["notes.odt"]


def test_a_drive_that_gives_back_other_bytes_keeps_the_original(
    desk: Desk, other_drive: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put(desk.models / "Imported" / "mine")
    again = transfers.hash_again
    monkeypatch.setattr(
        transfers, "hash_again", lambda file, *rest: "0" * 64 if "-7." in file.name else again(file, *rest)
    )  # of the last one only
    assert "may be failing" in moves(desk, old, other_drive).text()
    assert held(old) == content
    assert list(other_drive.iterdir()) == []


def test_links_are_not_moved(desk: Desk, stick: Path) -> None:
    old = put(desk.models / "Imported" / "mine")
    (old / LARGEST).rename(old / "elsewhere")
    (old / LARGEST).symlink_to("elsewhere")
    assert "is a link" in moves(desk, old, stick).text()
    assert (old / "elsewhere").exists()


def test_deleted_and_brought_back(desk: Desk, content: Content) -> None:
    old = put(desk.models / "Imported" / "mine")
    bin_, found = Bin(desk.models), of(old)
    bin_.put(Deleted(found.title, found.files, found.size))
    assert held(old) == {}
    assert look([Place("Inglenook", desk.models)]) == []
    bin_.restore()
    assert held(old) == content


# -- killed --


@pytest.mark.timeout(3600)
def test_a_kill_at_any_moment_loses_nothing(desk: Desk, stick: Path, tmp_path: Path, content: Content) -> None:
    source, ended = put(tmp_path / "source"), 0
    for number in range(KILLS):
        killed_somewhere("import", desk.models, source, "-", seed=2 * number)
        desk.transfers.recover()
        brought = desk.models / "Imported" / "source"
        assert left(desk) == [] or held(brought) == content
        ended += brought.exists()
        shutil.rmtree(desk.models / "Imported", ignore_errors=True)
        old = put(desk.models / "Imported" / f"m{number}")
        killed_somewhere("move", desk.models, old / CONFIG, stick, seed=2 * number + 1)
        desk.transfers.recover()
        desk.moved.refresh()
        there = Path(desk.moved.now(str(old / CONFIG))).parent
        assert held(there) == content
        assert len(left(desk)) == (len(content) if there == old else 0)
        assert list(stick.iterdir()) == ([] if there == old else [there])
        ended += there != old
        shutil.rmtree(there)
    assert held(source) == content
    print(f"killed {2 * KILLS} times; {ended} had come or came to their end")
