"""Settings: declared once, kept in a file that survives what people and crashes do to it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from inglenook.core import settings as s
from inglenook.core.locks import try_lock
from inglenook.core.settings import Setting, Settings


def test_every_declaration_accepts_its_default_and_has_words() -> None:
    for setting in s.ALL:
        assert setting.check(setting.default) == setting.default
        assert setting.title
        assert setting.group
    assert len({x.key for x in s.ALL}) == len(s.ALL)


def test_a_value_outlives_the_program(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    settings = Settings(file)
    settings.set(s.TEMPERATURE, 0.5)
    settings.flush()
    assert Settings(file).get(s.TEMPERATURE) == 0.5
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"temperature": "hot"}', '{"temperature": 9}',
                                     '{"temperature": NaN}', "\x00"])  # fmt: skip
def test_a_damaged_file_gives_defaults(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)
    assert Settings(file).get(s.TEMPERATURE) == s.TEMPERATURE.default


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"of_a_later_version": 1}')
    settings = Settings(file)
    settings.set(s.TEXT_SIZE, 150)
    settings.flush()
    assert json.loads(file.read_text()) == {"of_a_later_version": 1, "text_size": 150}


def test_listeners_hear_changes_and_only_changes(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.json")
    heard: list[Setting[object]] = []
    settings.subscribe(heard.append)
    settings.set(s.THEME, "dark")
    settings.set(s.THEME, "dark")
    assert heard == [s.THEME]


@pytest.mark.parametrize(("setting", "value"), [(s.THEME, "pink"), (s.TEMPERATURE, 3.0), (s.TEXT_SIZE, "big"),
                                               (s.TEMPERATURE, math.nan)])  # fmt: skip
def test_an_invalid_value_is_refused(tmp_path: Path, setting: Setting[object], value: object) -> None:
    with pytest.raises(ValueError, match=setting.key):
        Settings(tmp_path / "s.json").set(setting, value)


def test_a_failed_write_is_told_and_the_value_stays(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder should be")
    settings = Settings(tmp_path / "config" / "settings.json")
    settings.set(s.TEXT_SIZE, 150)
    with pytest.raises(OSError, match="config"):
        settings.flush()
    assert settings.get(s.TEXT_SIZE) == 150
    (tmp_path / "config").unlink()
    settings.set(s.TEXT_SIZE, 125)
    settings.flush()
    assert Settings(tmp_path / "config" / "settings.json").get(s.TEXT_SIZE) == 125


class TestTwoPrograms:
    """Two windows, or a window and a command, with one file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "settings.json"

    def test_the_newer_choice_wins_and_the_rest_is_left_alone(self, file: Path) -> None:
        """`inglenook models use X` while a window is open: the window's next change leaves that choice."""
        window, command = Settings(file), Settings(file)
        window.set(s.MODEL_FILE, "/old.gguf")
        window.flush()
        command.set(s.MODEL_FILE, "/new.gguf")
        command.flush()
        window.set(s.TEXT_SIZE, 150)
        window.flush()
        assert json.loads(file.read_text()) == {"model_file": "/new.gguf", "text_size": 150}
        assert window.get(s.MODEL_FILE) == "/new.gguf"
        window.set(s.MODEL_FILE, "/newest.gguf")
        window.flush()
        command.set(s.THEME, "dark")
        command.flush()
        assert json.loads(file.read_text())["model_file"] == "/newest.gguf"

    def test_a_change_elsewhere_is_told_and_our_own_is_not(self, file: Path) -> None:
        window, command = Settings(file), Settings(file)
        heard: list[Setting[object]] = []
        window.subscribe_elsewhere(heard.append)
        command.set(s.MODEL_FILE, "/new.gguf")
        command.flush()
        window.look()
        window.flush()
        assert heard == [s.MODEL_FILE]
        assert window.get(s.MODEL_FILE) == "/new.gguf"
        window.set(s.TEXT_SIZE, 150)
        window.look()
        window.flush()
        assert heard == [s.MODEL_FILE]

    def test_what_was_taken_back_elsewhere_is_taken_back_here(self, file: Path) -> None:
        file.write_text('{"theme": "dark"}')
        window = Settings(file)
        file.write_text("{}")
        window.look()
        window.flush()
        assert window.get(s.THEME) == s.THEME.default

    def test_a_damaged_or_missing_file_takes_nothing_away(self, file: Path) -> None:
        window = Settings(file)
        window.set(s.THEME, "dark")
        window.flush()
        for spoil in (lambda: file.write_text("{"), file.unlink):
            spoil()
            window.look()
            window.flush()
            assert window.get(s.THEME) == "dark"
            window.set(s.TEXT_SIZE, 150 if window.get(s.TEXT_SIZE) != 150 else 125)
            window.flush()
            assert json.loads(file.read_text())["theme"] == "dark"

    def test_what_could_not_be_written_is_not_lost_to_another_programs_value(self, file: Path) -> None:
        folder = file.parent / "config"
        folder.write_text("in the way")
        window = Settings(folder / "settings.json")
        window.set(s.THEME, "dark")
        with pytest.raises(OSError, match="config"):
            window.flush()
        folder.unlink()
        command = Settings(folder / "settings.json")
        command.set(s.THEME, "light")
        command.flush()
        window.set(s.TEXT_SIZE, 125)
        window.flush()
        assert json.loads((folder / "settings.json").read_text()) == {"theme": "dark", "text_size": 125}

    def test_a_stopped_program_holds_nobody_up(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s, "_LOCK_SECONDS", 0.05)
        descriptor = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        assert try_lock(descriptor)
        settings = Settings(file)
        settings.set(s.TEXT_SIZE, 150)
        settings.flush()
        os.close(descriptor)
        assert Settings(file).get(s.TEXT_SIZE) == 150

    def test_many_at_once_lose_nothing(self, file: Path) -> None:
        programs = [Settings(file) for _ in range(4)]
        wanted = {s.TEXT_SIZE: 150, s.THEME: "dark", s.TEMPERATURE: 0.5, s.MODEL_FILE: "/m"}
        for program, (setting, value) in zip(programs, wanted.items(), strict=True):
            program.set(setting, value)
        for program in programs:
            program.flush()
        assert json.loads(file.read_text()) == {setting.key: value for setting, value in wanted.items()}
