from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import setup_system
from setup_console import SetupError
from setup_system import QT_LIBRARIES, loads, missing_packages, missing_tools, typed_line

LIBRARIES = (("libA.so.1", "liba1"), ("libB.so.2", "libb2"), ("libB-extra.so.2", "libb2"))


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.usefixtures("linux")
def test_packages_of_what_the_loader_does_not_find() -> None:
    assert missing_packages(LIBRARIES, found=lambda name: name == "libA.so.1", font=lambda: True) == ["libb2"]
    assert missing_packages(LIBRARIES, found=lambda name: True, font=lambda: True) == []
    assert missing_packages(LIBRARIES, found=lambda name: True, font=lambda: False) == ["fonts-dejavu-core"]


def test_other_systems_have_no_debian_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert missing_packages(LIBRARIES, found=lambda name: False, font=lambda: False) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of Linux libraries")
def test_the_loader_is_asked() -> None:
    assert loads("libc.so.6")
    assert not loads("libdoes-not-exist.so.99")


def test_every_library_is_named_once() -> None:
    names = [soname for soname, _ in QT_LIBRARIES]
    assert len(names) == len(set(names))


def test_the_line_to_type() -> None:
    assert typed_line(["liba1", "libb2"]) == "sudo apt-get install -y --no-install-recommends liba1 libb2"


class TestWithoutRights:
    @pytest.fixture(autouse=True)
    def ordinary_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(setup_system, "may_install", lambda: False)

    def test_the_line_is_printed(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert not setup_system.install(["liba1"], tmp_path / "log")
        assert typed_line(["liba1"]) in capsys.readouterr().out

    @pytest.mark.usefixtures("linux")
    def test_no_compiler(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SetupError, match=r"no C\+\+ compiler"):
            setup_system.require_compiler(tmp_path / "log")
        assert typed_line(["build-essential"]) in capsys.readouterr().out
        for name in ("cc", "my-c++"):
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("CXX", "my-c++ -pipe")
        setup_system.require_compiler(tmp_path / "log")  # the user's own choice counts

    @pytest.mark.usefixtures("linux")
    def test_no_ensurepip(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        setup_system.require_venv(tmp_path / "log")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(SetupError, match="virtual environments"):
            setup_system.require_venv(tmp_path / "log")
        assert "-venv" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Debian's packages")
def test_programs_that_only_tests_use() -> None:
    assert missing_tools(found=lambda name: None) == ["strace"]
    assert missing_tools(found=lambda name: name) == []
