"""Starts the window. Imported late, by `bootstrap` alone, so that everything else works on a machine without Qt."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PySide6.QtCore import QLibraryInfo, QLocale, QSocketNotifier, Qt, QTranslator
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from inglenook.core.errors import ErrorInfo
from inglenook.core.paths import Paths, resources
from inglenook.core.settings import Settings
from inglenook.ui.dialogs.crash import CrashHandler
from inglenook.ui.main_window import MainWindow
from inglenook.ui.services import Chats, Models, Shelf, Token
from inglenook.ui.theme import Theme


def run(
    chat: Chats,
    models: Models,
    shelf: Shelf,
    token: Token,
    settings: Settings,
    paths: Paths,
    notices: Sequence[ErrorInfo] = (),
) -> int:
    """Shows the window, returns the exit code when it has been closed. `chat`, `models` and `shelf` are left open.

    `notices` are what happened before there was a window (a damaged file was set aside); each is shown once.
    """
    app = application()
    theme = Theme(settings, app)
    theme.apply(app)
    crashes = CrashHandler(theme, app)
    crashes.install()
    window = MainWindow(chat, models, shelf, token, settings, paths, theme)
    window.show()
    for notice in notices:
        _box(notice, QMessageBox.Icon.Information, window).open()
    try:
        with _closed_by_signals(window):
            return app.exec()
    finally:
        window.bridge.close()
        crashes.remove()


def refuse(error: ErrorInfo) -> int:
    """Says why the program cannot start, and returns its exit code."""
    application()
    _box(error, QMessageBox.Icon.Warning).exec()
    return 1


def _box(text: ErrorInfo, icon: QMessageBox.Icon, parent: QWidget | None = None) -> QMessageBox:
    box = QMessageBox(icon, "Inglenook", text.text(), QMessageBox.StandardButton.Ok, parent)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, parent is not None)
    return box


def application() -> QApplication:
    """The one QApplication, named, with its icon and Qt's own words in the user's language."""
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        app = QApplication(sys.argv[:1])
    app.setApplicationName("inglenook")
    app.setApplicationDisplayName("Inglenook")
    app.setDesktopFileName("inglenook")
    app.setWindowIcon(QIcon(str(resources() / "icons" / "app.svg")))
    translator = QTranslator(app)
    if translator.load(QLocale(), "qtbase", "_", QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)):
        app.installTranslator(translator)
    return app


@contextmanager
def _closed_by_signals(window: MainWindow) -> Iterator[None]:
    """Lets Ctrl-C in a terminal, and the end of a session, close the window in order.

    Qt's loop runs no Python while it waits, so the signal is written to a socket that the loop watches.
    """
    if os.name != "posix":
        yield
        return
    read, write = socket.socketpair()
    write.setblocking(False)
    notifier = QSocketNotifier(read.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(window.close)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        notifier.setEnabled(False)
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        read.close()
        write.close()
