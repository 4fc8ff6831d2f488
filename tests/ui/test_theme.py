"""Contrast of every pair of colours that meet, scale of type, and following of system and settings."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from inglenook.core.paths import resources
from inglenook.core.settings import TEXT_SIZE, THEME, Settings
from inglenook.ui.theme import DARK, LIGHT, FontRole, Palette, Theme

BACKGROUNDS = ("window", "surface", "surface_raised", "surface_sunken", "hover", "user_bubble", "code_background")
TEXTS = ("text", "text_muted", "link", "error", "warning", "success", "accent")
PAIRS = [(t, b) for t in TEXTS for b in BACKGROUNDS] + [
    ("text", "selection"),
    ("link", "selection"),
    ("on_accent", "accent"),
    ("on_accent", "accent_hover"),
    ("window", "text"),  # a toast
]


def contrast(a: QColor, b: QColor) -> float:
    """The contrast ratio of WCAG 2: 1 to 21."""

    def luminance(colour: QColor) -> float:
        parts = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.getRgbF()[:3])
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


class System:
    """A desktop whose colour scheme a test sets."""

    scheme = Qt.ColorScheme.Unknown
    asked = Qt.ColorScheme.Unknown

    def colorScheme(self) -> Qt.ColorScheme:  # noqa: N802
        return self.scheme

    def setColorScheme(self, scheme: Qt.ColorScheme) -> None:  # noqa: N802
        self.asked = scheme


def test_contrast_is_measured_right() -> None:
    assert contrast(QColor("#000"), QColor("#fff")) == pytest.approx(21)
    assert contrast(QColor("#777"), QColor("#fff")) < 4.5 < contrast(QColor("#767676"), QColor("#fff"))


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
class TestContrast:
    @pytest.mark.parametrize(("text", "background"), PAIRS)
    def test_text(self, palette: Palette, text: str, background: str) -> None:
        assert contrast(getattr(palette, text), getattr(palette, background)) >= 4.5

    def test_code(self, palette: Palette) -> None:
        names = {"keyword", "string", "comment", "number", "function", "operator", "type"}
        assert set(palette.syntax) == names
        for name, colour in palette.syntax.items():
            assert contrast(QColor(colour), palette.code_background) >= 4.5, name

    def test_focus_ring_is_seen(self, palette: Palette) -> None:
        for background in BACKGROUNDS:
            assert contrast(palette.focus, getattr(palette, background)) >= 3, background


def test_palettes_differ_in_what_matters() -> None:
    assert LIGHT.window.lightnessF() > 0.9
    assert DARK.window.lightnessF() < 0.2


def test_setting_chooses_the_palette(theme: Theme, settings: Settings, qtbot: QtBot, qapp: QApplication) -> None:
    settings.set(THEME, "light")
    for name, palette in (("dark", DARK), ("light", LIGHT)):
        with qtbot.waitSignal(theme.changed):
            settings.set(THEME, name)
        assert theme.palette is palette
        assert qapp.palette().color(QPalette.ColorRole.Window) == palette.window
        assert palette.surface_raised.name() in qapp.styleSheet()


def test_system_is_followed_unless_a_scheme_is_set(theme: Theme, settings: Settings, qapp: QApplication) -> None:
    system = System()
    theme._hints = system  # type: ignore[assignment] - the offscreen platform has no scheme to change
    announce = qapp.styleHints().colorSchemeChanged
    for scheme, dark in ((Qt.ColorScheme.Dark, True), (Qt.ColorScheme.Light, False), (Qt.ColorScheme.Unknown, False)):
        system.scheme = scheme
        announce.emit(scheme)
        assert theme.dark == dark
    settings.set(THEME, "dark")
    assert system.asked == Qt.ColorScheme.Dark  # so that title bars agree
    system.scheme = Qt.ColorScheme.Light
    announce.emit(system.scheme)
    assert theme.dark
    settings.set(THEME, "system")
    assert system.asked == Qt.ColorScheme.Unknown
    assert not theme.dark


def test_text_size_scales_all_type(theme: Theme, settings: Settings, qtbot: QtBot, qapp: QApplication) -> None:
    before = {role: theme.font(role).pointSizeF() for role in FontRole}
    with qtbot.waitSignal(theme.changed):
        settings.set(TEXT_SIZE, 150)
    for role in FontRole:
        assert theme.font(role).pointSizeF() == pytest.approx(before[role] * 1.5, abs=0.02)
    assert qapp.font().pointSizeF() == pytest.approx(theme.font(FontRole.BODY).pointSizeF())


def test_type_scale_is_a_scale(theme: Theme) -> None:
    sizes = [theme.font(r).pointSizeF() for r in (FontRole.SMALL, FontRole.BODY, *_headings())]
    assert sizes == sorted(set(sizes))
    assert theme.font(FontRole.CODE).families() != theme.font(FontRole.BODY).families()


def test_every_icon_is_drawn_in_the_palettes_colour(theme: Theme, settings: Settings) -> None:
    names = sorted(f.stem for f in (resources() / "icons").glob("*.svg"))
    assert {"send", "stop", "new-chat", "app"} <= set(names)
    for name in names:
        image = theme.icon(name).pixmap(20, 20).toImage()
        drawn = [image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height())]
        assert any(colour.alpha() > 200 for colour in drawn), name
    stop = theme.icon("stop", QColor("#ff0000")).pixmap(20, 20).toImage().pixelColor(10, 10)
    assert stop == QColor("#ff0000")


def test_unknown_icon_is_an_error(theme: Theme) -> None:
    with pytest.raises(FileNotFoundError):
        theme.icon("no-such-icon")


def test_style_sheet_leaves_no_name_unfilled(theme: Theme, qapp: QApplication) -> None:
    assert "@" not in qapp.styleSheet()


def _headings() -> tuple[FontRole, ...]:
    return FontRole.HEADING3, FontRole.HEADING2, FontRole.HEADING1
