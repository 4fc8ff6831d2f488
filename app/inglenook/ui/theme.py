"""Colours, type and spacing of the whole window, in one place.

A panel is handed the `Theme` and asks it for what it draws with; `Theme.changed` says that the answers are new (another
colour scheme, another text size). Most widgets need neither: the style sheet made here reaches them by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from PySide6.QtCore import QByteArray, QObject, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from inglenook.core.paths import resources
from inglenook.core.settings import TEXT_SIZE, THEME, Setting, Settings
from inglenook.ui.stylesheet import stylesheet


@dataclass(frozen=True, slots=True)
class Spacing:
    """The one scale of distances, in device-independent pixels."""

    xs: int
    s: int
    m: int
    l: int  # noqa: E741 - the letter of the scale
    xl: int
    xxl: int


SPACE = Spacing(xs=4, s=8, m=12, l=16, xl=24, xxl=32)
COLUMN = 760  # widest line of the conversation, in device-independent pixels
ICON = 20  # side of an icon at the normal text size


@dataclass(frozen=True, slots=True)
class Palette:
    """All colours. Text on any of the backgrounds has a contrast of at least 4.5 to 1 (tests/ui/test_theme.py)."""

    window: QColor  # behind the conversation
    surface: QColor  # fields and lists
    surface_raised: QColor  # composer, menus, cards
    surface_sunken: QColor  # sidebar
    border: QColor
    text: QColor
    text_muted: QColor
    accent: QColor
    accent_hover: QColor
    on_accent: QColor  # text on accent
    selection: QColor  # behind selected text and the selected row; `text` is written on it
    hover: QColor  # a row or flat button under the pointer
    user_bubble: QColor
    code_background: QColor
    error: QColor
    warning: QColor
    success: QColor
    link: QColor
    focus: QColor
    syntax: Mapping[str, str]  # keyword, string, comment, number, function, operator, type -> "#rrggbb"


def _palette(syntax: dict[str, str], **colours: str) -> Palette:
    return Palette(**{name: QColor(value) for name, value in colours.items()}, syntax=MappingProxyType(syntax))


LIGHT = _palette(
    window="#fbfbfa", surface="#ffffff", surface_raised="#ffffff", surface_sunken="#f1f2ef", border="#d9dbd6",
    text="#1c1f1d", text_muted="#5a615d", accent="#1d6a57", accent_hover="#155242", on_accent="#ffffff",
    selection="#cfe6dd", hover="#e5e7e2", user_bubble="#e3eeea", code_background="#f3f4f1",
    error="#a8251c", warning="#7d4a00", success="#1b6539", link="#155e7a", focus="#1d6a57",
    syntax={
        "keyword": "#8a2f6b", "string": "#2c6418", "comment": "#5f6763", "number": "#974011",
        "function": "#155e7a", "operator": "#4c534f", "type": "#63479b",
    },
)  # fmt: skip
DARK = _palette(
    window="#1a1c1b", surface="#212423", surface_raised="#262a28", surface_sunken="#141615", border="#383d3a",
    text="#e8ebe9", text_muted="#a5ada9", accent="#6fc7ab", accent_hover="#8ed8c0", on_accent="#08211a",
    selection="#21433a", hover="#2c302e", user_bubble="#25352f", code_background="#131514",
    error="#ff958b", warning="#f0b65f", success="#7fd39b", link="#7fc6e6", focus="#6fc7ab",
    syntax={
        "keyword": "#e59ac8", "string": "#a3cf8b", "comment": "#8f9894", "number": "#eba777",
        "function": "#7fc6e6", "operator": "#b9c0bc", "type": "#c3aef0",
    },
)  # fmt: skip


class FontRole(Enum):
    """What a text is."""

    BODY = "body"
    SMALL = "small"
    TITLE = "title"
    HEADING1 = "heading1"
    HEADING2 = "heading2"
    HEADING3 = "heading3"
    CODE = "code"


_SIZE = {  # the type scale, relative to body text
    FontRole.BODY: 1.0,
    FontRole.SMALL: 0.88,
    FontRole.TITLE: 1.0,
    FontRole.HEADING1: 1.5,
    FontRole.HEADING2: 1.28,
    FontRole.HEADING3: 1.12,
    FontRole.CODE: 0.94,
}
_BOLD = {FontRole.TITLE, FontRole.HEADING1, FontRole.HEADING2, FontRole.HEADING3}
_SMALLEST_BODY = 10.5  # points; some systems' interface font is too small to read prose in
# Where the system's own fixed-width font is not made for reading code. (Other scripts: the system knows best.)
_CODE_FAMILIES = {"win32": ["Cascadia Mono", "Consolas"], "darwin": ["SF Mono", "Menlo"]}.get(sys.platform, [])


class Theme(QObject):
    """The look that is in force. Follows the system, or the setting `THEME`, and the setting `TEXT_SIZE`."""

    changed = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._hints = QGuiApplication.styleHints()
        self._icons: dict[tuple[str, str], QIcon] = {}
        self._app: QApplication | None = None
        self._follow_setting()
        self._dark = self._wanted_dark()
        self._hints.colorSchemeChanged.connect(self._refresh)
        settings.subscribe(self._on_setting)

    @property
    def dark(self) -> bool:
        """Whether the dark palette is in force."""
        return self._dark

    @property
    def palette(self) -> Palette:
        """The colours in force."""
        return DARK if self._dark else LIGHT

    def font(self, role: FontRole) -> QFont:
        """The font for a kind of text, scaled by the user's text size."""
        system = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
        font = QFont(system)
        if role is FontRole.CODE:
            fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
            font = QFont([*_CODE_FAMILIES, fixed.family()])
            font.setStyleHint(QFont.StyleHint.Monospace)
        body = max(system.pointSizeF(), _SMALLEST_BODY) * self._settings.get(TEXT_SIZE) / 100
        font.setPointSizeF(round(body * _SIZE[role], 2))
        if role in _BOLD:
            font.setWeight(QFont.Weight.DemiBold)
        return font

    @property
    def icon_side(self) -> int:
        """Side of an icon in device-independent pixels; it grows with the text."""
        return round(ICON * self._settings.get(TEXT_SIZE) / 100)

    def icon(self, name: str, colour: QColor | None = None) -> QIcon:
        """`resources/icons/NAME.svg` in `colour` (default: text). FileNotFoundError if there is none of that name."""
        colour = colour or self.palette.text
        key = (name, colour.name())
        if key not in self._icons:
            self._icons[key] = self._draw(name, colour)
        return self._icons[key]

    def apply(self, app: QApplication) -> None:
        """Gives `app` style, palette, font and style sheet, now and after each change."""
        if self._app is None:
            app.setStyle("Fusion")
        self._app = app
        app.setFont(self.font(FontRole.BODY))
        app.setPalette(_qt_palette(self.palette))
        small, heading = self.font(FontRole.SMALL), self.font(FontRole.HEADING1)
        app.setStyleSheet(stylesheet(self.palette, small, heading, dark=self._dark, icon=self.icon_side))

    def _draw(self, name: str, colour: QColor) -> QIcon:
        svg = (resources() / "icons" / f"{name}.svg").read_text("utf-8")
        icon = QIcon()
        tints = ((QIcon.Mode.Normal, colour.name()), (QIcon.Mode.Disabled, self.palette.text_muted.name()))
        for mode, tint in tints:
            renderer = QSvgRenderer(QByteArray(svg.replace("currentColor", tint).encode()))
            for ratio in {1.0, 2.0} | {screen.devicePixelRatio() for screen in QGuiApplication.screens()}:
                pixmap = QPixmap(QSize(round(self.icon_side * ratio), round(self.icon_side * ratio)))
                pixmap.fill(Qt.GlobalColor.transparent)
                painter = QPainter(pixmap)
                renderer.render(painter, QRectF(pixmap.rect()))
                painter.end()
                pixmap.setDevicePixelRatio(ratio)
                icon.addPixmap(pixmap, mode)
        return icon

    def _wanted_dark(self) -> bool:
        chosen = self._settings.get(THEME)
        if chosen == "system":
            return self._hints.colorScheme() == Qt.ColorScheme.Dark
        return chosen == "dark"

    def _follow_setting(self) -> None:
        """Tells Qt, so that title bars and native dialogs agree with us."""
        schemes = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}
        self._hints.setColorScheme(schemes.get(self._settings.get(THEME), Qt.ColorScheme.Unknown))

    def _on_setting(self, setting: Setting[Any]) -> None:
        if setting is THEME:
            self._follow_setting()
            self._refresh()
        elif setting is TEXT_SIZE:
            self._announce()

    def _refresh(self) -> None:
        dark = self._wanted_dark()
        if dark != self._dark:
            self._dark = dark
            self._announce()

    def _announce(self) -> None:
        self._icons.clear()
        if self._app is not None:
            self.apply(self._app)
        self.changed.emit()


def _qt_palette(p: Palette) -> QPalette:
    """Ours as Qt's, for what the style draws without a style sheet."""
    role, disabled = QPalette.ColorRole, QPalette.ColorGroup.Disabled
    palette = QPalette()
    for key, colour in {
        role.Window: p.window,
        role.WindowText: p.text,
        role.Base: p.surface,
        role.AlternateBase: p.surface_sunken,
        role.Text: p.text,
        role.PlaceholderText: p.text_muted,
        role.Button: p.surface_raised,
        role.ButtonText: p.text,
        role.BrightText: p.error,
        role.Highlight: p.selection,
        role.HighlightedText: p.text,
        role.Accent: p.accent,
        role.Link: p.link,
        role.LinkVisited: p.link,
        role.ToolTipBase: p.surface_raised,
        role.ToolTipText: p.text,
        role.Light: p.surface_raised,
        role.Midlight: p.hover,
        role.Mid: p.border,
        role.Dark: p.border,
        role.Shadow: p.border,
    }.items():
        palette.setColor(key, colour)
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(disabled, key, p.text_muted)
    return palette
