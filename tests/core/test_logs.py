"""The log: rotating files, readable by the user only."""

from __future__ import annotations

import logging
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inglenook.core import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was after."""
    root = logging.getLogger()
    level = root.level
    yield root
    for handler in list(root.handlers):
        if isinstance(handler, logs.PrivateFiles):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


def test_it_goes_to_three_files_of_a_megabyte_at_most(root: logging.Logger, tmp_path: Path):
    logs.start(tmp_path / "logs", "engine")
    for i in range(5000):
        logging.getLogger("llama.cpp").warning("%05d %s", i, "x" * 1000)
    files = sorted((tmp_path / "logs").iterdir())
    assert [f.name for f in files] == ["engine.log", "engine.log.1", "engine.log.2"]
    assert all(f.stat().st_size <= 1_000_000 for f in files)
    assert "04999" in files[0].read_text("utf-8")
    if sys.platform != "win32":
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}


def test_addresses_stay_out_of_it(root: logging.Logger, tmp_path: Path):
    """Those that the Hub redirects to are signed: who has one has the file."""
    logs.start(tmp_path, "app")
    before = {name: logging.getLogger(name).level for name in ("httpx", "httpcore")}
    assert set(before.values()) == {logging.WARNING}
    logging.getLogger("httpx").info('HTTP Request: GET https://host/file?Signature=secret "HTTP/1.1 200 OK"')
    logging.getLogger("httpx").warning("that is heard")
    text = (tmp_path / "app.log").read_text()
    assert "secret" not in text
    assert "that is heard" in text


def test_a_line_says_when_where_how_bad_and_whose(root: logging.Logger, tmp_path: Path):
    logs.start(tmp_path, "engine")
    logging.getLogger("llama.cpp").error("no such file")
    logging.getLogger("llama.cpp").debug("a detail")
    (line,) = (tmp_path / "engine.log").read_text("utf-8").splitlines()
    assert line.endswith("MainThread ERROR llama.cpp: no such file")
