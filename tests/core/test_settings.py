"""Settings: declared once, kept in a file that survives what people and crashes do to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inglenook.core import settings as s
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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"temperature": "hot"}', '{"temperature": 9}', "\x00"])
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


@pytest.mark.parametrize(("setting", "value"), [(s.THEME, "pink"), (s.TEMPERATURE, 3.0), (s.TEXT_SIZE, "big")])
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
