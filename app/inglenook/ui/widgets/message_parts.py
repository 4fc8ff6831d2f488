"""Parts of an answer beside its text: folded reasoning and tool cards, what is waited for, how it ended."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace

from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QLabel, QWidget

from inglenook.chat.events import AnswerWaiting, Waiting
from inglenook.core.conversation import MessageState, StoredMessage
from inglenook.core.events import Channel
from inglenook.core.i18n import tr
from inglenook.core.messages import Role
from inglenook.ui.models.transcript import ShownPart
from inglenook.ui.theme import SPACE, FontRole, Theme
from inglenook.ui.widgets.markdown_inline import visible_controls
from inglenook.ui.widgets.markdown_style import Style
from inglenook.ui.widgets.markdown_view import EDGE, MarkdownView
from inglenook.ui.widgets.message_button import QuietButton

GUTTER = 8  # pixels left and right of the column that belong to a message: room for focus rings
_INDENT = 22  # of what is unfolded: to below the words, beside the icon


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 1:
        return tr("under a second")
    minutes, rest = divmod(round(seconds), 60)
    return (
        tr("{minutes} min {seconds} s", minutes=minutes, seconds=rest) if minutes else tr("{seconds} s", seconds=rest)
    )


class _FoldButton(QuietButton):
    """The line to click: icon, what it is, chevron."""

    def __init__(self, theme: Theme, icon: str, parent: QWidget) -> None:
        super().__init__(theme, icon, "", parent, text=" ")
        self.setCheckable(True)

    def nextCheckState(self) -> None:  # the fold decides, so that it can tell the panel first
        return

    def sizeHint(self) -> QSize:
        return super().sizeHint() + QSize(20, 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        opened, self_checked = self.property("opened"), self.isChecked()
        if self_checked:
            self.setChecked(False)
        super().paintEvent(event)
        painter = QPainter(self)
        icon = self._theme.icon("chevron-down" if opened else "chevron-right", self._theme.palette.text_muted)
        icon.paint(painter, self.width() - 20, (self.height() - 14) // 2, 14, 14)
        painter.end()


class FoldedPart(QWidget):
    """Reasoning or a tool's call or result: one quiet line that opens to all of it."""

    toggled = Signal(bool)
    answer_now = Signal()

    def __init__(self, theme: Theme, style: Style, part: ShownPart, opened: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme, self.part = theme, part
        self._style = replace(style, body=style.small)
        self._opened = opened
        self._body: MarkdownView | None = None
        icon = "thinking" if part.channel is Channel.REASONING else "settings"
        self._button = _FoldButton(theme, icon, self)
        self._button.clicked.connect(self._toggle)
        self._now = QuietButton(theme, "continue", tr("Answer now"), self, text=tr("Answer now"))
        self._now.setToolTip(tr("End the reasoning and answer now (Ctrl+J)"))
        self._now.clicked.connect(self._hurry)
        self._now.hide()
        self._clock = QTimer(self)
        self._clock.setInterval(250)
        self._clock.timeout.connect(self._tell)
        self.take(part)

    @property
    def views(self) -> list[MarkdownView]:
        """The text inside, if it is open."""
        return [self._body] if self._body is not None and self._opened else []

    def take(self, part: ShownPart) -> None:
        """A later state of the part."""
        self.part = part
        thinking = part.seconds is None and part.channel is Channel.REASONING
        if not thinking:
            self._clock.stop()
            self._now.setEnabled(True)
        elif not self._clock.isActive():
            self._clock.start()
        self._now.setVisible(thinking)
        self._tell()
        self._fill()

    def _fill(self) -> None:
        if not self._opened:
            return
        if self._body is None:
            self._body = MarkdownView(self._theme, self._style, self)
            self._body.set_muted(True)
            self._body.show()
        text = self._source()
        if self.part.seconds is not None or not text.startswith(self._body.source):
            self._body.set_text(text)
        elif len(text) > len(self._body.source):
            self._body.append(text[len(self._body.source) :])

    def _source(self) -> str:
        if self.part.channel is Channel.REASONING:
            return self.part.text
        longest = max((len(run) for run in re.findall("`+", self.part.text)), default=0)
        fence = "`" * max(3, longest + 1)
        language = "json" if self.part.text.lstrip()[:1] in ("{", "[") else "text"
        return f"{fence}{language}\n{self.part.text}"  # the end of the text ends the fence

    def _tell(self) -> None:
        part = self.part
        name = visible_controls(part.name.removeprefix("functions."))
        if part.channel is Channel.REASONING:
            if part.seconds is None:
                text = tr("Thinking… {time}", time=duration(max(1.0, time.monotonic() - part.started)))
            else:
                text = tr("Thought for {time}", time=duration(part.seconds)) if part.seconds else tr("Thoughts")
            if part.tokens:
                text = tr("{text} · {count} tokens", text=text, count=part.tokens)
        elif part.channel is None:
            text = tr("Result of {name}", name=name)
        elif part.seconds is None:
            text = tr("Calling {name}…", name=name)
        else:
            text = tr("Called {name}", name=name)
        if text != self._button.text():
            self._button.setText(text)
            self._button.resize(self._button.sizeHint())
        state = tr("open") if self._opened else tr("folded")
        self._button.setAccessibleName(f"{text}, {state}")
        self._button.setProperty("opened", self._opened)

    def _toggle(self) -> None:
        self._opened = not self._opened
        self._fill()
        if self._body is not None:
            self._body.setVisible(self._opened)
        self._tell()
        self._button.update()
        self.toggled.emit(self._opened)

    def _hurry(self) -> None:
        self._now.setEnabled(False)  # it has been said
        self.answer_now.emit()

    def _place_now(self, width: int) -> None:
        """At the right, so that it does not move while the figures grow; without its word where there is no room."""
        self._now.set_look("continue", tr("Answer now"))
        if self._button.sizeHint().width() + self._now.sizeHint().width() > width:
            self._now.set_look("continue")
        size = self._now.sizeHint()
        self._now.setGeometry(width - size.width(), 0, size.width(), size.height())

    def relayout(self, width: int) -> int:
        """As a message does: `GUTTER` wider than the column on both sides. Returns the height."""
        self._button.move(0, 0)
        if not self._now.isHidden():
            self._place_now(width + 2 * GUTTER)
        height = self._button.height()
        if self._opened and self._body is not None:
            self._body.move(GUTTER + _INDENT - EDGE, height + SPACE.xs)
            height += SPACE.xs + self._body.relayout(width - _INDENT) + SPACE.xs
        self.resize(width + 2 * GUTTER, height)
        return height

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws the bar beside what is unfolded."""
        if self._opened:
            painter = QPainter(self)
            top = self._button.height() + SPACE.xs
            painter.fillRect(QRectF(GUTTER + 7, top, 2, self.height() - top - SPACE.xs), self._theme.palette.border)
            painter.end()


class WaitingLine(QWidget):
    """What an answer waits for: a few words, how far it is, how long it will take."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._text, self._fraction = "", 0.0
        self._phase = time.monotonic()
        self._pulse = QTimer(self)
        self._pulse.setInterval(60)
        self._pulse.timeout.connect(self.update)
        self.setFont(theme.font(FontRole.SMALL))

    def take(self, event: AnswerWaiting | None) -> None:
        """Shows this state; None is: nothing is known yet."""
        self._text = waiting_text(event) if event else ""
        known = event is not None and event.waiting in (Waiting.LOADING, Waiting.READING)
        self._fraction = event.fraction if known and event else -1.0
        self.setAccessibleName(self._text or tr("Waiting for the answer"))
        self._pulse.start()
        self.update()

    def relayout(self, width: int) -> int:
        """Resizes to `width`, returns the height: that of the reasoning line that follows."""
        height = max(QFontMetrics(self.font()).height() + SPACE.s, 28)
        self.resize(width, height)
        return height

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws progress, or dots where there is none to know, and the words."""
        palette = self._theme.palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        middle, left = self.height() / 2, 0.0
        if self._fraction >= 0:
            painter.setBrush(palette.border)
            painter.drawRoundedRect(QRectF(0, middle - 2, 96, 4), 2, 2)
            painter.setBrush(palette.accent)
            painter.drawRoundedRect(QRectF(0, middle - 2, max(4.0, 96 * min(self._fraction, 1.0)), 4), 2, 2)
            left = 96 + SPACE.m
        else:
            painter.setBrush(palette.text_muted)
            for i in range(3):
                wave = 0.5 + 0.5 * math.sin((time.monotonic() - self._phase) * 5 - i * 0.9)
                painter.setOpacity(0.25 + 0.75 * wave)
                painter.drawEllipse(QRectF(2 + i * 10, middle - 3, 6, 6))
            painter.setOpacity(1)
            left = 32 + SPACE.s
        painter.setPen(palette.text_muted)
        painter.drawText(QRectF(left, 0, self.width() - left, self.height()), Qt.AlignmentFlag.AlignVCenter, self._text)
        painter.end()


def waiting_text(event: AnswerWaiting) -> str:
    """The state in words."""
    percent = f"{min(max(event.fraction, 0.0), 1.0):.0%}"
    words = {
        Waiting.QUEUED: tr("Waiting for another answer to finish"),
        Waiting.STARTING: tr("Starting the engine"),
        Waiting.LOADING: tr("Loading the model, {percent}", percent=percent),
        Waiting.READING: tr("Reading the conversation, {percent}", percent=percent),
        Waiting.TOOL: tr("The tool is running"),
    }[event.waiting]
    if event.seconds_left is not None and event.seconds_left >= 1:
        words = tr("{state}, about {time} left", state=words, time=duration(event.seconds_left))
    return words


def ending_text(message: StoredMessage) -> str:
    """How an answer ended if not by itself, or what is to be said of it, in plain words; else ''."""
    words = {
        MessageState.STOPPED: tr("You stopped this answer."),
        MessageState.LENGTH: tr("The answer reached the longest length allowed."),
        MessageState.INTERRUPTED: tr("This answer was interrupted before its end."),
        MessageState.FAILED: tr("This answer could not be finished."),
    }.get(message.state, "")
    return message.error or words


class EndingLine(QWidget):
    """How an answer ended, with what can be done about it."""

    try_again = Signal()
    go_on = Signal()

    def __init__(self, theme: Theme, message: StoredMessage, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._failed = message.state is MessageState.FAILED
        self._label = QLabel(self)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setWordWrap(True)
        self._label.setFont(theme.font(FontRole.SMALL))
        self._label.setText(ending_text(message))
        colour = theme.palette.error if self._failed else theme.palette.text_muted
        self._label.setStyleSheet(f"color: {colour.name()}")
        again = QuietButton(theme, "refresh", tr("Try again"), self, text=tr("Try again"))
        again.clicked.connect(self.try_again)
        self._buttons = [again]
        has_begun = bool(message.message.parts) or message.message.role is Role.TOOL  # whose calls are still to be made
        if has_begun and message.state is not MessageState.COMPLETE:
            go_on = QuietButton(theme, "continue", tr("Continue"), self, text=tr("Continue"))
            go_on.setToolTip(tr("Go on where this answer was cut off"))
            go_on.clicked.connect(self.go_on)
            self._buttons.insert(0, go_on)

    def relayout(self, width: int) -> int:
        """Resizes to `width`, returns the height."""
        sizes = [button.sizeHint() for button in self._buttons]
        taken, tall = sum(size.width() for size in sizes), max(size.height() for size in sizes)
        left = 26 if self._failed else 0
        room = max(80, width - taken - left - SPACE.m)
        wide = min(room, self._label.fontMetrics().horizontalAdvance(self._label.text()) + SPACE.xs)
        high = max(self._label.heightForWidth(wide), self._label.fontMetrics().height())
        height = max(high + 2 * (SPACE.s if self._failed else 0), tall)
        pad = SPACE.m if self._failed else 0
        self._label.setGeometry(pad + left, (height - high) // 2, wide, high)
        x = min(pad + left + wide + SPACE.s, width - taken - 4)
        for button, size in zip(self._buttons, sizes, strict=True):
            button.setGeometry(x, (height - size.height()) // 2, size.width(), size.height())
            x += size.width()
        self.resize(width, height)
        return height

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws the card around an error."""
        if self._failed:
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(self._theme.palette.border, 1))
            painter.setBrush(self._theme.palette.surface)
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 10, 10)
            icon = self._theme.icon("warning", self._theme.palette.error)
            icon.paint(painter, SPACE.m, (self.height() - 18) // 2, 18, 18)
            painter.end()
