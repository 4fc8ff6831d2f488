"""What the model is doing: a few words in the header, and where there is more to say, a notice below it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from inglenook.core.fitting import gigabytes, parts
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import ModelInfo
from inglenook.library.events import ModelState, ModelStatus
from inglenook.ui.theme import SPACE, FontRole, Theme
from inglenook.ui.widgets.toast import announce

DEMO = N_(
    "This is the demo model: a tiny network that shows how Inglenook works. "
    "It is not gpt-oss-20b and knows little beyond Inglenook."
)
_STATE = {
    ModelState.NONE: N_("No model"),
    ModelState.PREPARING: N_("Preparing {percent} %"),
    ModelState.LOADING: N_("Loading {percent} %"),
    ModelState.READY: N_("Ready"),
    ModelState.ASLEEP: N_("Memory freed"),
    ModelState.FAILED: N_("Not loaded"),
    ModelState.CRASHED: N_("Stopped"),
}
_WORDS = 340  # device-independent pixels that words need beside buttons
_NAME = 240  # device-independent pixels of a model's name
_BUSY = (ModelState.PREPARING, ModelState.LOADING)


class _Name(QLabel):
    """One line that gives way, from its middle, where there is no room for it."""

    def minimumSizeHint(self) -> QSize:
        """See the class."""
        return QSize(min(48, super().minimumSizeHint().width()), super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        """Not wider than a header likes."""
        return super().sizeHint().boundedTo(QSize(_NAME, 1000))

    def paintEvent(self, event: QPaintEvent) -> None:
        """See the class."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        text = painter.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideMiddle, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeading, text)
        painter.end()


class ModelChip(QWidget):
    """The title and state of the model that answers, in one line; while it is prepared or loaded, a bar and Cancel."""

    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._status = ModelStatus(ModelState.NONE)
        self._said = ModelState.NONE
        self._title = _Name()
        self._title.setTextFormat(Qt.TextFormat.PlainText)
        self._state = QLabel()
        self._state.setProperty("role", "small")
        self._bar = QProgressBar()
        self._bar.setRange(0, 100)
        self._bar.setTextVisible(False)
        self._bar.setMinimumWidth(24)
        self._bar.setMaximumWidth(96)
        self._bar.setAccessibleName(tr(N_("Progress of the model")))
        self.cancel = QPushButton(tr(N_("Cancel")))
        self.cancel.setAccessibleName(tr(N_("Cancel loading the model")))
        self.cancel.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.cancel.setCursor(Qt.CursorShape.PointingHandCursor)
        self.cancel.clicked.connect(self.cancel_requested)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE.s)
        row.addWidget(self._title)
        row.addWidget(self._bar)
        row.addWidget(self._state)
        row.addWidget(self.cancel)
        self.show_status(ModelStatus(ModelState.NONE))

    def show_status(self, status: ModelStatus) -> None:
        """Shows it; a screen reader hears of a new state, not of each percent."""
        self._status = status
        percent = round(status.fraction * 100)
        state = tr(_STATE[status.state], percent=percent)
        self._title.setText(status.title)
        self._state.setText(state)
        self._bar.setVisible(status.state in _BUSY)
        self.cancel.setVisible(status.state in _BUSY)
        self._bar.setValue(percent)
        self.setAccessibleName(f"{status.title}: {state}")
        if status.state is not self._said and status.state not in _BUSY:
            announce(self, self.accessibleName())
        self._said = status.state

    def show_other(self, title: str, *, gone: bool) -> None:
        """A model that is not the one in use: the conversation's, to be loaded with its next message."""
        self._status = ModelStatus(ModelState.NONE, title)
        self._title.setText(title)
        self._state.setText(tr(N_("Not here now")) if gone else tr(N_("Loads with your next message")))
        self._bar.hide()
        self.cancel.hide()
        self.setAccessibleName(f"{title}: {self._state.text()}")

    def event(self, event: QEvent) -> bool:
        """Where the mouse rests: what the model takes, as it is at that moment."""
        if event.type() is QEvent.Type.ToolTip:
            info = self._status.info if self._status.state is ModelState.READY else None
            self.setToolTip("\n".join([self._status.title, *(memory_lines(info) if info else ())]))
        return super().event(event)


def memory_lines(info: ModelInfo) -> list[str]:
    """How a model was loaded, what was foreseen and allocated, what was not tried, and what the engine uses now."""
    plan = info.plan
    if plan is None:
        return []
    lines = [plan.why.text(), tr(N_("Context window: {n_ctx} tokens"), n_ctx=info.n_ctx)]
    for use in plan.uses:
        lines.append(tr(N_("Foreseen on {device}: {parts}"), device=use.device, parts=parts(use)))
    for use in info.allocated:
        lines.append(tr(N_("Allocated on {device}: {parts}"), device=use.device, parts=parts(use)))
    if used := used_now(info.process):
        lines.append(tr(N_("Used now, with the file's parts that were read: {size}"), size=gigabytes(used)))
    lines += [tr(N_("Not tried: {reason}"), reason=each.text()) for each in plan.not_tried]
    return [*lines, plan.warning.text()] if plan.warning else lines


def used_now(process: int) -> int:
    """Bytes of main memory that the engine has; 0 if it is gone."""
    import psutil  # late: the first paint does not need it

    try:
        return int(psutil.Process(process).memory_info().rss) if process else 0
    except psutil.Error:
        return 0


class StatusPanel(QFrame):
    """The notice: that this is the demo, or what went wrong with the model and what can be done. Else it is hidden."""

    choose_requested = Signal()
    stay_requested = Signal()
    retry_requested = Signal()
    demo_requested = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._icon_name = "info"
        self.setObjectName("notice")
        self._icon = QLabel()
        self._heading = QLabel()
        self._heading.setProperty("role", "title")
        self._heading.setTextFormat(Qt.TextFormat.PlainText)
        self._heading.setWordWrap(True)
        self._text = QLabel()
        self._text.setObjectName("noticeText")
        self._text.setProperty("role", "small")
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._choose = self._button(N_("&Models…"), self.choose_requested)
        self._stay = self._button(N_("&Go on"), self.stay_requested)
        self._close = self._button(N_("&Close"), self.hide)
        self._retry = self._button(N_("&Try again"), self.retry_requested)
        self._demo = self._button(N_("Use the &demo model"), self.demo_requested)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._heading)
        words.addWidget(self._text)
        self._buttons = QWidget()
        beside = QHBoxLayout(self._buttons)
        beside.setContentsMargins(0, 0, 0, 0)
        beside.setSpacing(SPACE.s)
        for button in (self._stay, self._retry, self._demo, self._choose, self._close):
            beside.addWidget(button)
        self._body = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._body.setSpacing(SPACE.s)
        self._body.addLayout(words, 1)
        self._body.addWidget(self._buttons, 0, Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE.l, SPACE.s, SPACE.m, SPACE.s)
        row.setSpacing(SPACE.m)
        row.addWidget(self._icon)
        row.addLayout(self._body, 1)
        theme.changed.connect(self._retint)
        self.hide()

    def show_status(self, status: ModelStatus) -> None:
        """Shows what there is to say about `status`, or hides."""
        failed, crashed = status.state is ModelState.FAILED, status.state is ModelState.CRASHED
        reason = status.error.text() if status.error else ""
        plan = status.info.plan if status.info and status.state is ModelState.READY else None
        warning = plan.warning if plan else None
        refused = status.refused if status.error is not None else ""
        left = status.left if status.state is ModelState.LOADING else ""
        if refused:
            heading = N_("{title} could not be loaded. {old} is still in use.")
            self._say("error", tr(heading, title=refused, old=status.title), reason)
        elif left:
            words = N_("{old} has left the memory first, as there is not room for both. It is back if this fails.")
            self._say("calm", "", tr(words, old=left))
        elif failed:
            self._say("error", tr(N_("The model could not be loaded")), reason)
        elif crashed:
            hint = tr(N_("Your chats are safe. Send a message and it starts again."))
            self._say("warning", tr(N_("The model stopped unexpectedly")), f"{reason} {hint}".strip())
        elif status.is_demo:
            self._say("calm", "", tr(DEMO))
        elif warning:
            self._say("warning", "", warning.text())
        self._retry.setVisible(failed or crashed)
        self._demo.setVisible(failed and not status.is_demo)
        self._choose.setVisible(failed or (status.is_demo and not left) or bool(refused))
        self._close.setVisible(bool(refused))
        self._stay.hide()
        self._arrange()
        self.setVisible(failed or crashed or status.is_demo or warning is not None or bool(refused or left))

    def show_other(self, status: ModelStatus, title: str, gone: str, in_use: str) -> None:
        """The conversation's model is not the one in use (`status`). `gone` is its file, if that is not there."""
        if status.refused and status.error is not None:
            self.show_status(status)
            return
        if gone:
            words = N_("Its file {path} is not there. Connect its drive, choose another model, or go on with {in_use}.")
            heading = tr(N_("This chat was with {title}"), title=title)
            self._say("warning", heading, tr(words, path=gone, in_use=in_use))
            self._stay.setToolTip(tr(N_("Go on with {in_use}"), in_use=in_use))
            self._stay.setAccessibleName(tr(N_("Go on with {in_use}"), in_use=in_use))
        for button in (self._retry, self._demo, self._close):
            button.hide()
        self._stay.setVisible(bool(gone))
        self._choose.setVisible(bool(gone))
        self._arrange()
        self.setVisible(bool(gone))

    def minimumSizeHint(self) -> QSize:
        """As narrow as the window likes: the buttons then go below the words."""
        return QSize(0, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """See `minimumSizeHint`."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        narrow = self.width() - self._buttons.sizeHint().width() < _WORDS
        wanted = QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight
        if self._body.direction() != wanted:
            self._body.setDirection(wanted)
            side = Qt.AlignmentFlag.AlignLeading if narrow else Qt.AlignmentFlag.AlignVCenter
            self._body.setAlignment(self._buttons, side)

    def _button(self, label: str, signal: object) -> QPushButton:
        button = QPushButton(tr(label))
        button.setAccessibleName(tr(label).replace("&", ""))
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        button.clicked.connect(signal)
        return button

    def _say(self, tone: str, heading: str, text: str) -> None:
        self._icon_name = "info" if tone == "calm" else "warning"
        if self.property("tone") != tone:
            self.setProperty("tone", tone)
            self._heading.style().unpolish(self._heading)
            self._heading.style().polish(self._heading)
        self._heading.setText(heading)
        self._heading.setVisible(bool(heading))
        self._text.setText(text)
        self._text.setVisible(bool(text))
        self.setAccessibleName(f"{heading} {text}".strip())
        self._retint()

    def _retint(self) -> None:
        palette = self._theme.palette
        tone = self.property("tone")
        colour = {"error": palette.error, "warning": palette.warning}.get(tone, palette.text_muted)
        self._icon.setPixmap(
            self._theme.icon(self._icon_name, colour).pixmap(self._theme.icon_side, self._theme.icon_side)
        )
        self._heading.setFont(self._theme.font(FontRole.TITLE))
