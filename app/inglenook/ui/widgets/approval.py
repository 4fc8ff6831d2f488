"""The card that asks before a tool is called: which one, with what, and three answers.

All of it comes from a model that may have read what a stranger wrote, so it is shown as plain text, and so that no
value can look like another one, or like something else than it is. A card that has just come takes no clicks for a
moment: they were meant for something else.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import partial

from PySide6.QtCore import QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QPushButton, QWidget

from inglenook.chat.events import ApprovalAsked
from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import SPACE, FontRole, Theme

ARMED_MS = 400
"""So long after it came, a card can be answered."""

_INDENT = "    "
_LINES = 12  # of the arguments, in sight at once
_PIECE = 1000  # characters of a line without end: Qt takes long to lay out a longer one
_JOINERS = "\u200c\u200d"  # which words of some languages, and many emoji, cannot do without
_ANSWERS = (  # words, what they are to a screen reader, allowed, in the whole chat
    (N_("Allow &once"), N_("Call the tool this time, and ask again the next time."), True, False),
    (N_("Allow in this c&hat"), N_("Call this tool here without asking, until Inglenook is closed."), True, True),
    (N_("Re&fuse"), N_("Do not call the tool. The model is told, and goes on without it."), False, False),
)


def argument_lines(arguments: str) -> list[str]:
    """A call's arguments, one after the other, as lines of plain text.

    Each name begins a line. Text of several lines stands below its name and is indented, so that none of it can pass
    for another argument; characters that cannot be seen are shown by their number.
    """
    try:
        values = json.loads(arguments)
    except ValueError:
        values = arguments
    if not isinstance(values, dict):
        return _pieces(visible(str(values)))
    lines: list[str] = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        below = text.splitlines() if isinstance(value, str) else text.split("\n")
        if len(below) > 1 or (isinstance(value, str) and text != text.strip()):
            inner = [piece for line in below for piece in _pieces(visible(line))]
            lines += [f"{_label(name)}:", *(f"{_INDENT}{line}" for line in inner)]
        else:
            first, *rest = _pieces(f"{_label(name)}: {visible(text)}")
            lines += [first, *(f"{_INDENT}{piece}" for piece in rest)]
    return lines


def _label(name: str) -> str:
    """A name as it stands, or in quotes where it is more than a word."""
    return visible(name if re.fullmatch(r"[\w.-]+", name) else json.dumps(name, ensure_ascii=False))


def visible(text: str) -> str:
    """`text` on one line, with what is not seen (control, format and private characters) by its number."""
    return "".join(_seen(c) for c in text) if not (text.isascii() and text.isprintable()) else text


def _seen(c: str) -> str:
    if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return c
    return f"⟨U+{ord(c):04X}⟩"


def _pieces(line: str) -> list[str]:
    return [line[i : i + _PIECE] for i in range(0, len(line), _PIECE)] or [""]


class ApprovalCard(QWidget):
    """Asks about one call after the other. Places its children itself, as all in a message does."""

    answered = Signal(str, bool, bool)  # call id, allowed, in the whole chat

    def __init__(self, theme: Theme, asked: ApprovalAsked, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._asked = asked
        self._title = QLabel(self)
        self._title.setTextFormat(Qt.TextFormat.PlainText)
        self._title.setFont(theme.font(FontRole.TITLE))
        self._title.setWordWrap(True)
        self._field = QPlainTextEdit(self)
        self._field.setReadOnly(True)
        self._field.setTabChangesFocus(True)
        self._field.setFont(theme.font(FontRole.CODE))
        self._field.setAccessibleName(tr("What the tool would be given"))
        self._buttons: list[QPushButton] = []
        for words, meaning, allowed, in_chat in _ANSWERS:
            button = QPushButton(tr(words), self)
            button.setAutoDefault(False)
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setToolTip(tr(meaning))
            button.setAccessibleDescription(tr(meaning))
            button.clicked.connect(partial(self._answer, allowed, in_chat))
            self._buttons.append(button)
        self._arm = QTimer(self)
        self._arm.setSingleShot(True)
        self._arm.timeout.connect(partial(self._enable, True))
        self._show()

    @property
    def words(self) -> str:
        """What it asks, for a screen reader to say."""
        return self._title.text()

    def take(self, asked: ApprovalAsked) -> None:
        """Asks this, if it is another call."""
        if asked != self._asked:
            self._asked = asked
            self._show()

    def relayout(self, width: int) -> int:
        """Resizes to `width`, returns the height. Buttons without room beside each other stand below each other."""
        pad, inner = SPACE.l, width - 2 * SPACE.l
        y = SPACE.m
        high = max(self._title.heightForWidth(inner), self._title.sizeHint().height())
        self._title.setGeometry(pad, y, inner, high)
        y += high + SPACE.s
        if not self._field.isHidden():
            self._field.setGeometry(pad, y, inner, self._field_height(inner))
            y += self._field.height() + SPACE.m
        sizes = [button.sizeHint() for button in self._buttons]
        in_a_row = sum(size.width() for size in sizes) + SPACE.s * (len(sizes) - 1) <= inner
        x = pad
        for button, size in zip(self._buttons, sizes, strict=True):
            button.setGeometry(x, y, size.width() if in_a_row else inner, size.height())
            x += size.width() + SPACE.s if in_a_row else 0
            y += 0 if in_a_row else size.height() + SPACE.xs
        y += sizes[0].height() if in_a_row else 0
        self.resize(width, y + SPACE.m)
        return self.height()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws the card."""
        palette = self._theme.palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(palette.warning, 1.5))
        painter.setBrush(palette.surface_raised)
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 10, 10)
        painter.end()

    def _show(self) -> None:
        name = visible(self._asked.name.removeprefix("functions."))
        title = tr("The model asks to use the tool “{name}”", name=name)
        lines = argument_lines(self._asked.arguments)
        self._title.setText(title)
        self._field.setPlainText("\n".join(lines))
        self._field.setVisible(bool(lines))
        self.setAccessibleName(title)
        self._enable(False)
        self._arm.start(ARMED_MS)

    def _field_height(self, width: int) -> int:
        """Of as many lines as there are, up to some; they may be broken."""
        frame = 2 * (SPACE.s + 2) + round(2 * self._field.document().documentMargin())
        metrics = self._field.fontMetrics()
        per_line = max(8, (width - frame) // max(1, metrics.averageCharWidth()))
        lines = 0
        for line in self._field.toPlainText().split("\n", _LINES)[:_LINES]:
            lines += 1 + len(line) // per_line
        return min(lines, _LINES) * metrics.lineSpacing() + frame

    def _enable(self, enabled: bool) -> None:
        for button in self._buttons:
            button.setEnabled(enabled)

    def _answer(self, allowed: bool, in_chat: bool) -> None:
        self._enable(False)  # it has been said
        self.answered.emit(self._asked.call_id, allowed, in_chat)
