"""How full the context window is, in a few quiet words; what takes the room is told on pointing and on pressing."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QToolTip, QWidget

from inglenook.chat.events import ContextUse
from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import SPACE, FontRole, Theme

_PARTS = (
    ("instructions", N_("Instructions")),
    ("tools", N_("Tools")),
    ("history", N_("What was said")),
    ("answer", N_("The answer so far")),
    ("draft", N_("Your message")),
)


class UseIndicator(QToolButton):
    """Hidden while nothing is known."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._words = self._few_words = ""
        self.setProperty("role", "flat")
        self.setAccessibleName(tr(N_("Context window")))
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.clicked.connect(self._tell)
        theme.changed.connect(self._restyle)
        self._restyle()
        self.hide()

    def show_use(self, use: ContextUse | None) -> None:
        """Shows it, in words and as the accessible name."""
        self.setVisible(use is not None)
        if use is None:
            return
        self._words, self._few_words = _summary(use), _short_summary(use)
        self.setAccessibleName(tr(N_("Context window: {use}"), use=self._words))
        self.setToolTip(_details(use))
        self.setAccessibleDescription(self.toolTip().replace("\n", "; "))
        self.updateGeometry()
        self._choose_words()

    def sizeHint(self) -> QSize:
        """Of all words, whichever are shown."""
        return self._size_of(self._words)

    def minimumSizeHint(self) -> QSize:
        """Of the few words for a narrow window."""
        return self._size_of(self._few_words)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Takes the words that there is room for."""
        super().resizeEvent(event)
        self._choose_words()

    def _size_of(self, words: str) -> QSize:
        height = super().sizeHint().height()
        return QSize(self.fontMetrics().horizontalAdvance(words) + 2 * SPACE.m, height)

    def _choose_words(self) -> None:
        words = self._words if self.width() >= self.sizeHint().width() else self._few_words
        if words != self.text():
            self.setText(words)

    def _tell(self) -> None:
        """For the keyboard, and for fingers."""
        QToolTip.showText(self.mapToGlobal(QPoint(0, 0)), self.toolTip(), self)

    def _restyle(self) -> None:
        self.setFont(self._theme.font(FontRole.SMALL))


def _summary(use: ContextUse) -> str:
    used, total = _number(use.used), _number(use.n_ctx)
    if not use.n_ctx:
        return tr(N_("{used} tokens"), used=used)
    if use.draft and use.used + use.room > use.n_ctx:
        return tr(N_("Too long: {used} of {total} tokens"), used=used, total=total)
    return tr(N_("{used} of {total} tokens"), used=used, total=total)


def _short_summary(use: ContextUse) -> str:
    return tr(N_("{percent} %"), percent=_number(100 * use.used // use.n_ctx)) if use.n_ctx else _number(use.used)


def _details(use: ContextUse) -> str:
    lines = [f"{tr(title)}: {_number(getattr(use, name))}" for name, title in _PARTS if getattr(use, name)]
    if use.n_ctx:
        lines.append(tr(N_("Kept free for an answer: {tokens}"), tokens=_number(use.room)))
    if use.unseen:
        lines.append(tr(N_("Messages that have left: {count}"), count=_number(len(use.unseen))))
    return "\n".join(lines)


def _number(value: int) -> str:
    return f"{value:,}"
