"""Fonts, colours and measures with which Markdown is drawn: looked up once a look of the window, not a leaf."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QTextCharFormat, QTextOption

from inglenook.ui.theme import FontRole, Palette, Theme
from inglenook.ui.widgets.markdown_inline import Run

LEADING = 0.32  # space between the lines of prose, in line heights
CODE_LEADING = 0.22
_FORMULA = ["STIX Two Text", "Cambria", "Times New Roman", "Noto Serif", "DejaVu Serif"]


@dataclass(frozen=True, slots=True)
class Style:
    """The look in force."""

    palette: Palette
    body: QFont
    small: QFont
    code: QFont
    headings: tuple[QFont, ...]  # of levels 1 to 6

    @classmethod
    def of(cls, theme: Theme) -> Style:
        """As `theme` has it now."""
        small_heading = QFont(theme.font(FontRole.BODY))
        small_heading.setWeight(QFont.Weight.DemiBold)
        levels = [theme.font(role) for role in (FontRole.HEADING1, FontRole.HEADING2, FontRole.HEADING3)]
        return cls(
            theme.palette,
            theme.font(FontRole.BODY),
            theme.font(FontRole.SMALL),
            theme.font(FontRole.CODE),
            (*levels, small_heading, small_heading, small_heading),
        )

    @property
    def em(self) -> float:
        """Height of a line of body text, the measure of distances between blocks."""
        return QFontMetricsF(self.body).height()

    def format(self, run: Run, font: QFont, colour: QColor) -> QTextCharFormat:
        """How `run` looks within text of `font` and `colour`."""
        shape = QTextCharFormat()
        if run.code or run.math:
            families = self.code.families()
            shape.setFontFamilies(families)
            shape.setFontFixedPitch(True)
            shape.setFontPointSize(font.pointSizeF() * 0.92)
        elif run.formula:
            shape.setFontFamilies(_FORMULA)
            shape.setFontPointSize(font.pointSizeF() * 1.06)
            if run.shift:
                script = QTextCharFormat.VerticalAlignment
                shape.setVerticalAlignment(script.AlignSuperScript if run.shift > 0 else script.AlignSubScript)
        if run.bold or font.bold():
            shape.setFontWeight(QFont.Weight.DemiBold)
        if run.italic:
            shape.setFontItalic(True)
        if run.strike:
            shape.setFontStrikeOut(True)
        if run.href:
            shape.setForeground(self.palette.link)
            shape.setFontUnderline(True)
        else:
            shape.setForeground(colour)
        return shape


def direction_of(text: str) -> Qt.LayoutDirection:
    """The direction of a paragraph by its first strong character."""
    if text.isascii():
        return Qt.LayoutDirection.LeftToRight
    rtl = _is_right_to_left(text)
    return Qt.LayoutDirection.RightToLeft if rtl else Qt.LayoutDirection.LeftToRight


def _is_right_to_left(text: str) -> bool:
    import unicodedata

    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in ("L", "R", "AL"):
            return kind != "L"
    return False


def wrapping(text: str, align: str = "left") -> QTextOption:
    """Wraps anywhere if it must; `align` "left" means: where this text's direction begins."""
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    direction = direction_of(text)
    option.setTextDirection(direction)
    begin = Qt.AlignmentFlag.AlignRight if direction is Qt.LayoutDirection.RightToLeft else Qt.AlignmentFlag.AlignLeft
    sides = {"right": Qt.AlignmentFlag.AlignRight, "center": Qt.AlignmentFlag.AlignHCenter}
    option.setAlignment(sides.get(align, begin) | Qt.AlignmentFlag.AlignAbsolute)
    return option
