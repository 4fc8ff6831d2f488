"""The first run with a pair of hands: a Hub at an address stands for the real one, a small model for gpt-oss-20b.

usage: first_run.py HUB FILE SIZE SHA256. Prints what is shown, as `drive.py` does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from tests.e2e import drive
from tests.e2e.drive import Condition, Hands, say
from tests.library.hub import COMMIT, REPOSITORY

from inglenook.bootstrap import Services
from inglenook.core.settings import HUB_ADDRESS
from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile


def first_run(hands: Hands) -> Iterator[Condition]:
    """One button; a chat with the demo model meanwhile; then a chat with the model that has come, by itself."""
    window, models = hands.window, hands.services.models
    card = window._empty.card
    yield lambda: card.get.isVisible() and window.header.chip.accessibleName().endswith("Ready")
    say("offered", button=card.get.text(), chip=window.header.chip.accessibleName())
    card.get.setFocus()
    QTest.keyClick(card.get, Qt.Key.Key_Space)
    yield lambda: card.row.isVisible() and "left" in card.row.words()
    say("fetching", words=card.row.words())
    demo_chat = window.current
    window.composer.focus_field()
    hands.ask("Hello!")
    yield lambda: window.answering
    yield hands.idle
    say("demo", shown=hands.shown(), bar=window.desk.bar.row.words(), chip=window.header.chip.accessibleName())
    QTest.keyClick(window.desk.bar.row.go, Qt.Key.Key_Space)
    yield lambda: "Paused" in window.desk.bar.row.words()
    say("paused", words=window.desk.bar.row.words())
    yield (hands.services.paths.data / "go").exists
    QTest.keyClick(window.desk.bar.row.go, Qt.Key.Key_Space)
    yield lambda: "Ready" in window.header.chip.accessibleName() and window.current != demo_chat
    say("arrived", chip=window.header.chip.accessibleName(), chosen=models.chosen())
    hands.ask("Hello!")
    yield lambda: window.answering
    yield hands.idle
    engine = hands.services.inference.status().model
    say("answered", shown=hands.shown(), model=engine.spec.path if engine else "")
    assert demo_chat is not None
    window._open(demo_chat)
    yield lambda: "Loads with your next message" in window.header.chip.accessibleName()
    engine = hands.services.inference.status().model
    say("opened", chip=window.header.chip.accessibleName(), model=engine.spec.path if engine else "")
    window.close()


def main() -> int:
    hub, name, size, digest = sys.argv[1:]
    files = (CatalogueFile(name, int(size), digest),)
    services = Services(entries=(replace(GPT_OSS_20B, repository=REPOSITORY, revision=COMMIT, files=files),))
    services.settings.set(HUB_ADDRESS, hub)
    services.shelf.start()
    return drive.run(services, first_run)


if __name__ == "__main__":
    sys.exit(main())
