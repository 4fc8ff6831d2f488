"""The settings dialog, made from the declarations in `core.settings`: nothing here knows a setting by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QIcon, QWheelEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from inglenook.core.i18n import N_, tr
from inglenook.core.settings import Setting, Settings
from inglenook.ui.services import Token
from inglenook.ui.theme import SPACE, Theme
from inglenook.ui.widgets.segments import Segments
from inglenook.ui.widgets.token_row import TokenRow

_SEGMENTS_UP_TO = 4  # choices shown side by side; more go into a box that opens
_WIDE = 260  # pixels: an address


class Editor:
    """The control of one setting: the widget, and how its value is read and shown."""

    def __init__(self, widget: QWidget, show: Callable[[Any], object]) -> None:
        self.widget = widget
        self.show = show


class _News(QObject):
    """Brings news of the writing thread into the dialog's. Apart from the dialog, which may be gone when they come."""

    written = Signal(object)  # OSError or None


class SettingsDialog(QDialog):
    """Shows `declarations`; a change applies at once, and a row that differs from its default can be put back."""

    def __init__(
        self,
        settings: Settings,
        declarations: Sequence[Setting[Any]],
        theme: Theme,
        token: Token,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._settings = settings
        self._theme = theme
        self._editors: dict[str, Editor] = {}
        self._resets: dict[str, QToolButton] = {}
        self.setWindowTitle(tr(N_("Settings")))
        self.setObjectName("settings")
        self._problem = QLabel()
        self._problem.setProperty("role", "error")
        self._problem.setWordWrap(True)
        self._problem.hide()
        news = _News()
        news.written.connect(self._show_written)
        self.destroyed.connect(settings.subscribe_writes(lambda failure: news.written.emit(failure)))
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(SPACE.xl, SPACE.l, SPACE.xl, SPACE.l)
        column.setSpacing(SPACE.xl)
        for group, members in groupby(declarations, key=lambda s: s.group):
            column.addLayout(self._group(tr(group), list(members)))
        self.token = TokenRow(token)
        column.addWidget(self.token)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(page)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setText(tr(N_("&Close")))
        close.setAccessibleName(tr(N_("Close")))
        close.setIcon(QIcon())  # some desktops put one there
        close.setDefault(False)
        close.setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll, 1)
        outer.addWidget(self._problem)
        outer.addWidget(_line())
        outer.addSpacing(SPACE.m)
        foot = QHBoxLayout()
        foot.setContentsMargins(SPACE.xl, 0, SPACE.xl, SPACE.m)
        foot.addWidget(buttons)
        outer.addLayout(foot)
        self.resize(600, 640)
        theme.changed.connect(self._retint)
        self._retint()
        self.editor(declarations[0]).setFocus()

    def editor(self, setting: Setting[Any]) -> QWidget:
        """The control of a setting."""
        return self._editors[setting.key].widget

    def reset_button(self, setting: Setting[Any]) -> QToolButton:
        """The button that puts a setting back."""
        return self._resets[setting.key]

    def _group(self, title: str, members: list[Setting[Any]]) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE.m)
        grid.setVerticalSpacing(SPACE.s)
        grid.setColumnStretch(0, 1)
        heading = QLabel(title)
        heading.setProperty("role", "section")
        grid.addWidget(heading, 0, 0, 1, 3)
        for setting in members:
            self._row(grid, setting)
        return grid

    def _row(self, grid: QGridLayout, setting: Setting[Any]) -> None:
        top = grid.rowCount()
        if top > 1:
            grid.addWidget(_line(), top, 0, 1, 3)
            top += 1
        editor = self._make(setting)
        widget = editor.widget
        widget.setObjectName(setting.key)
        widget.setAccessibleName(tr(setting.title))
        widget.setAccessibleDescription(tr(setting.help) if setting.help else "")
        title = QLabel(tr(setting.title))
        title.setBuddy(widget)
        reset = QToolButton()
        reset.setProperty("role", "flat")
        reset.setAccessibleName(tr(N_("Reset: {setting}"), setting=tr(setting.title)))
        reset.setToolTip(tr(N_("Back to the default")))
        reset.clicked.connect(lambda: self._reset(setting))
        policy = reset.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        reset.setSizePolicy(policy)
        middle = Qt.AlignmentFlag.AlignVCenter
        grid.addWidget(title, top, 0, middle)
        grid.addWidget(reset, top, 2, middle)
        if setting.multiline:
            grid.addWidget(widget, top + 2, 0, 1, 3)
        else:
            grid.addWidget(widget, top, 1, middle | Qt.AlignmentFlag.AlignRight)
        if setting.help:
            text = QLabel(tr(setting.help))
            text.setProperty("role", "small")
            text.setWordWrap(True)
            grid.addWidget(text, top + 1, 0, 1, 2)
        self._editors[setting.key] = editor
        self._resets[setting.key] = reset
        editor.show(self._settings.get(setting))
        self._offer_reset(setting)

    def _make(self, setting: Setting[Any]) -> Editor:
        def keep(value: Any) -> None:
            self._keep(setting, value)

        if setting.choices:
            return _choice_editor(setting, keep)
        if isinstance(setting.default, bool):
            check = QCheckBox()
            check.setProperty("role", "bare")  # its words stand beside it
            check.toggled.connect(keep)
            return Editor(check, check.setChecked)
        if isinstance(setting.default, int):
            return _number_editor(_Spin(), setting, keep)
        if isinstance(setting.default, float):
            return _number_editor(_DoubleSpin(), setting, keep)
        return _text_editor(setting, keep)

    def _keep(self, setting: Setting[Any], value: Any) -> None:
        self._settings.set(setting, value)
        self._offer_reset(setting)

    def _show_written(self, error: OSError | None) -> None:
        self._problem.setVisible(error is not None)
        if error is not None:
            text = N_(
                "The settings could not be saved: {reason}. Make room on the disk, or check the folder's permissions."
            )
            self._problem.setText(tr(text, reason=error.strerror or error))

    def _reset(self, setting: Setting[Any]) -> None:
        self._editors[setting.key].show(setting.default)
        self._keep(setting, setting.default)
        self._editors[setting.key].widget.setFocus()

    def _offer_reset(self, setting: Setting[Any]) -> None:
        self._resets[setting.key].setVisible(self._settings.get(setting) != setting.default)

    def _retint(self) -> None:
        for button in self._resets.values():
            button.setIcon(self._theme.icon("undo", self._theme.palette.text_muted))


def _line() -> QFrame:
    line = QFrame()
    line.setProperty("role", "line")
    line.setFixedHeight(1)
    return line


class _Spin(QSpinBox):
    """Ignores the wheel unless it is in use, so that scrolling the page changes nothing."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class _DoubleSpin(QDoubleSpinBox):
    """See `_Spin`; what is kept has as many digits as what is shown."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class _Text(QPlainTextEdit):
    """Keeps its text after a pause in typing, and when the keyboard leaves it."""

    def __init__(self, keep: Callable[[Any], None]) -> None:
        super().__init__()
        self._keep = keep
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(400)
        self._pause.timeout.connect(self._keep_now)
        self.textChanged.connect(self._pause.start)
        self.setTabChangesFocus(True)
        self.setFixedHeight(4 * self.fontMetrics().lineSpacing() + 2 * SPACE.l)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._keep_now()

    def _keep_now(self) -> None:
        self._pause.stop()
        self._keep(self.toPlainText())


def _choice_editor(setting: Setting[Any], keep: Callable[[Any], None]) -> Editor:
    if len(setting.choices) <= _SEGMENTS_UP_TO:
        segments = Segments(tr(setting.title), [(value, tr(label)) for value, label in setting.choices])
        segments.chosen.connect(keep)
        return Editor(segments, segments.set_value)
    box = QComboBox()
    for value, label in setting.choices:
        box.addItem(tr(label), value)
    box.currentIndexChanged.connect(lambda row: keep(box.itemData(row)))
    return Editor(box, lambda value: box.setCurrentIndex(box.findData(value)))


def _number_editor(spin: _Spin | _DoubleSpin, setting: Setting[Any], keep: Callable[[Any], None]) -> Editor:
    if isinstance(spin, _DoubleSpin):
        spin.setDecimals(2)
    if setting.minimum is not None:
        spin.setMinimum(setting.minimum)
    if setting.maximum is not None:
        spin.setMaximum(setting.maximum)
    if setting.step is not None:
        spin.setSingleStep(setting.step)
    spin.setKeyboardTracking(False)
    spin.lineEdit().setTextMargins(SPACE.s, 0, 0, 0)  # Qt ignores the left padding of a spin box
    spin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    spin.setMinimumWidth(112)
    spin.valueChanged.connect(lambda value: keep(round(value, 2)))
    return Editor(spin, spin.setValue)


def _text_editor(setting: Setting[Any], keep: Callable[[Any], None]) -> Editor:
    if setting.multiline:
        text = _Text(keep)
        return Editor(text, text.setPlainText)
    line = QLineEdit()
    line.setMinimumWidth(_WIDE)
    line.editingFinished.connect(lambda: keep(line.text()))
    return Editor(line, line.setText)
