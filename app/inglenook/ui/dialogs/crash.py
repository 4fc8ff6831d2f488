"""Our own bugs: every exception that nothing caught is logged and shown, never swallowed. The program goes on."""

from __future__ import annotations

import logging
import platform
import sys
import threading
import traceback
from types import TracebackType

from PySide6.QtCore import QObject, Qt, Signal, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

import inglenook
from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import SPACE, FontRole, Theme

log = logging.getLogger(__name__)


class CrashHandler(QObject):
    """Takes over the hooks of the interpreter and of its threads while it is installed."""

    _caught = Signal(str)

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._shown: set[str] = set()
        self._before = (sys.excepthook, threading.excepthook)
        self._caught.connect(self._show, Qt.ConnectionType.QueuedConnection)

    def install(self) -> None:
        """Begins."""
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread

    def remove(self) -> None:
        """Ends."""
        sys.excepthook, threading.excepthook = self._before

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QGuiApplication.quit()
            return
        log.critical("unhandled", exc_info=(kind, error, trace))
        self._caught.emit("".join(traceback.format_exception(kind, error, trace)))

    def _on_thread(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            self._on_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)

    def _show(self, trace: str) -> None:
        if trace in self._shown:  # the same bug at each repaint is one bug
            return
        self._shown.add(trace)
        CrashDialog(trace, self._theme, QApplication.activeWindow()).open()


class CrashDialog(QDialog):
    """Says that it is our fault, and offers the details (versions and the trace) to be copied."""

    def __init__(self, trace: str, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr(N_("Something went wrong")))
        self.details = (
            f"Inglenook {inglenook.__version__}, Python {platform.python_version()}, Qt {qVersion()}, "
            f"{platform.platform()}\n\n{trace}"
        )
        heading = QLabel(tr(N_("Inglenook has a bug")))
        heading.setFont(theme.font(FontRole.HEADING2))
        text = QLabel(
            tr(N_("This is our mistake, not yours. Your chats are saved. You can go on; if things look odd, restart."))
        )
        text.setWordWrap(True)
        details = QPlainTextEdit(self.details)
        details.setReadOnly(True)
        details.setTabChangesFocus(True)
        details.setFont(theme.font(FontRole.CODE))
        details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        details.setAccessibleName(tr(N_("Details")))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = QPushButton(tr(N_("Copy &details")))
        copy.setAccessibleName(tr(N_("Copy details")))
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.details))
        buttons.addButton(copy, QDialogButtonBox.ButtonRole.ActionRole)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.xl, SPACE.xl, SPACE.xl, SPACE.l)
        column.setSpacing(SPACE.m)
        for widget in (heading, text, details, buttons):
            column.addWidget(widget)
        self.resize(640, 420)
