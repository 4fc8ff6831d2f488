"""The style sheet: how standard widgets look in the palette's colours.

A widget that is special says so with a dynamic property, `role` ("primary", "flat", "segment", "muted", "title", ...);
selectors name roles, not instances, so that a new panel looks right without a new rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QFont

from inglenook.core.paths import resources

if TYPE_CHECKING:
    from inglenook.ui.theme import Palette

_SHEET = """
QToolTip { background: @surface_raised; color: @text; border: 1px solid @border; padding: 4px 6px; }
QSplitter::handle { background: @border; }
QStatusBar::item { border: none; }

QMenuBar { background: @surface_sunken; color: @text; border-bottom: 1px solid @border; padding: 2px 4px; }
QMenuBar::item { padding: 4px 10px; border-radius: 6px; background: transparent; }
QMenuBar::item:selected { background: @hover; }
QMenu { background: @surface_raised; color: @text; border: 1px solid @border; padding: 4px; }
QMenu::item { padding: 6px 28px 6px 12px; border-radius: 6px; }
QMenu::icon { padding-left: 8px; }
QMenu::item:selected { background: @selection; }
QMenu::item:disabled { color: @text_muted; }
QMenu::separator { height: 1px; background: @border; margin: 4px 8px; }

QPushButton, QToolButton {
    background: @surface_raised; color: @text; border: 1px solid @border; border-radius: 8px; padding: 6px 14px;
}
QToolButton { padding: 6px; icon-size: @icon-side; }
QPushButton:hover, QToolButton:hover { background: @hover; }
QPushButton:pressed, QToolButton:pressed { background: @selection; }
QPushButton:focus, QToolButton:focus { border: 2px solid @focus; padding: 5px 13px; }
QToolButton:focus { padding: 5px; }
QPushButton:disabled, QToolButton:disabled { color: @text_muted; }
QToolButton::menu-indicator { image: none; width: 0; }

*[role="primary"] { background: @accent; color: @on_accent; border: 1px solid @accent; font-weight: 600; }
*[role="primary"]:hover { background: @accent_hover; border-color: @accent_hover; }
*[role="primary"]:pressed { background: @accent_hover; }
*[role="primary"]:focus { border: 2px solid @text; }
*[role="primary"]:disabled { background: @hover; border-color: @hover; color: @text_muted; }
*[role="flat"] { background: transparent; border: 1px solid transparent; }
*[role="flat"]:hover { background: @hover; }
*[role="flat"]:pressed { background: @selection; }
*[role="flat"]:focus { border: 2px solid @focus; }
*[role="link"] {
    background: transparent; border: 1px solid transparent; color: @link; padding: 2px 4px; font-weight: 600;
}
*[role="link"]:hover { background: @hover; }
*[role="link"]:focus { border: 2px solid @focus; padding: 1px 3px; }

QFrame[role="segments"] { background: @surface_sunken; border: 1px solid @border; border-radius: 8px; }
*[role="segment"] {
    background: transparent; color: @text_muted; border: 1px solid transparent; border-radius: 6px; padding: 3px 9px;
    font-size: @smallpt;
}
*[role="segment"]:hover { color: @text; background: @hover; }
*[role="segment"]:focus { border: 2px solid @focus; padding: 2px 8px; }
*[role="segment"]:checked {
    background: @surface_raised; color: @text; border: 1px solid @border; font-weight: 600;
}
*[role="segment"]:checked:focus { border: 2px solid @focus; }

QLineEdit, QPlainTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {
    background: @surface; color: @text; border: 1px solid @border; border-radius: 8px; padding: 6px 8px;
    selection-background-color: @selection; selection-color: @text; placeholder-text-color: @text_muted;
}
QSpinBox::up-button, QDoubleSpinBox::up-button {
    subcontrol-origin: border; subcontrol-position: top right; width: 24px; border: none; margin: 2px 2px 0 0;
}
QSpinBox::down-button, QDoubleSpinBox::down-button {
    subcontrol-origin: border; subcontrol-position: bottom right; width: 24px; border: none; margin: 0 2px 2px 0;
}
QSpinBox::up-button:hover, QDoubleSpinBox::up-button:hover,
QSpinBox::down-button:hover, QDoubleSpinBox::down-button:hover { background: @hover; border-radius: 5px; }
QSpinBox::up-arrow, QDoubleSpinBox::up-arrow { image: url("@icons/spin-up.svg"); width: 16px; height: 16px; }
QSpinBox::down-arrow, QDoubleSpinBox::down-arrow, QComboBox::down-arrow {
    image: url("@icons/spin-down.svg"); width: 16px; height: 16px;
}
QComboBox::drop-down { border: none; width: 24px; }
QLineEdit:focus, QPlainTextEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus {
    border: 2px solid @focus; padding: 5px 7px;
}
QComboBox QAbstractItemView {
    background: @surface_raised; color: @text; border: 1px solid @border; selection-background-color: @selection;
    selection-color: @text; outline: none;
}
QCheckBox { color: @text; spacing: 8px; padding: 3px; border: 2px solid transparent; border-radius: 6px; }
QCheckBox[role="bare"] { spacing: 0; }
QCheckBox:focus { border-color: @focus; }
QCheckBox::indicator {
    width: 18px; height: 18px; border: 1px solid @text_muted; border-radius: 5px; background: @surface;
}
QCheckBox::indicator:checked { background: @accent; border-color: @accent; image: url("@icons/tick-@scheme.svg"); }

QLabel[role="muted"], QCheckBox[role="muted"] { color: @text_muted; }
QLabel[role="small"] { color: @text_muted; font-size: @smallpt; }
QLabel[role="title"] { font-weight: 600; }
QLabel[role="greeting"] { font-size: @headingpt; font-weight: 600; }
QLabel[role="error"] { color: @error; padding: 0 24px; }
QLabel[role="section"] { font-weight: 600; color: @accent; }
QFrame[role="line"] { background: @border; border: none; }
*[role="prompt"] { padding: 11px 16px; border-radius: 10px; text-align: left; }
*[role="prompt"]:focus { padding: 10px 15px; }

#sidebar { background: @surface_sunken; }
#sidebar QListView {
    background: transparent; border: none; outline: none; padding: 0;
}
#conversation { background: @window; }
#composerBox { background: @surface_raised; border: 1px solid @border; border-radius: 14px; }
#composerBox[focused="true"] { border-color: @focus; }
#composerBox QPlainTextEdit { background: transparent; border: none; padding: 0; border-radius: 0; }
QTableView {
    background: @surface; color: @text; border: 1px solid @border; border-radius: 8px; outline: none;
    selection-background-color: @selection; selection-color: @text;
}
QTableView::item { padding: 4px 8px; border: none; }
QTableView::item:selected { background: @selection; color: @text; }
QTableView:focus { border: 2px solid @focus; }
QHeaderView, QHeaderView::section { background: @surface; color: @text_muted; border: none; }
QHeaderView::section { padding: 6px 8px; border-bottom: 1px solid @border; }
#card { background: @surface_raised; border: 1px solid @border; border-radius: 12px; }
#notice { background: @surface_sunken; border: none; border-bottom: 1px solid @border; }
#notice[tone="error"] QLabel[role="title"] { color: @error; }
#notice[tone="warning"] QLabel[role="title"] { color: @warning; }
#dropSheet { background: @surface_raised; border: 2px dashed @accent; border-radius: 16px; }
#toast { background: @text; border-radius: 10px; }
#toast QLabel { color: @window; }
#toast QPushButton {
    background: transparent; color: @window; border: 1px solid transparent; font-weight: 600; padding: 4px 10px;
    text-decoration: underline;
}
#toast QPushButton:hover { border-color: @window; }
#toast QPushButton:focus { border: 2px solid @window; padding: 3px 9px; }

QProgressBar { background: @border; border: none; border-radius: 3px; min-height: 6px; max-height: 6px; }
QProgressBar::chunk { background: @accent; border-radius: 3px; }

QScrollArea { border: none; background: transparent; }
QScrollBar:vertical { background: transparent; width: 12px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 12px; margin: 0; }
QScrollBar::handle { background: @border; border-radius: 4px; margin: 2px; }
QScrollBar::handle:vertical { min-height: 32px; }
QScrollBar::handle:horizontal { min-width: 32px; }
QScrollBar::handle:hover { background: @text_muted; }
QScrollBar::handle:disabled { background: transparent; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
"""


def stylesheet(palette: Palette, small: QFont, heading: QFont, *, dark: bool, icon: int) -> str:
    """The sheet with each `@name` replaced by that colour, size or path."""
    values = {
        "icons": (resources() / "icons").as_posix(),
        "scheme": "dark" if dark else "light",
        "icon-side": f"{icon}px",
        "smallpt": f"{small.pointSizeF()}pt",
        "headingpt": f"{heading.pointSizeF()}pt",
    }
    for name in palette.__slots__:
        if name != "syntax":
            values[name] = getattr(palette, name).name()
    sheet = _SHEET
    for name in sorted(values, key=len, reverse=True):  # the longest first: @text is a prefix of @text_muted
        sheet = sheet.replace(f"@{name}", values[name])
    return sheet
