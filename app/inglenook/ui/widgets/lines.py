"""A single line of text that is written in its own direction, whatever the window's is."""

from __future__ import annotations

import unicodedata

from PySide6.QtCore import Qt
from PySide6.QtGui import QTextOption


def direction_of(text: str) -> Qt.LayoutDirection:
    """The direction of the first letter that has one; left to right if none has (the rule of UAX #9, P2 and P3)."""
    for letter in text:
        match unicodedata.bidirectional(letter):
            case "R" | "AL":
                return Qt.LayoutDirection.RightToLeft
            case "L":
                return Qt.LayoutDirection.LeftToRight
    return Qt.LayoutDirection.LeftToRight


def line_option(text: str) -> QTextOption:
    """How to draw `text` on one line: in its direction, beginning at the side where it begins."""
    option = QTextOption(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)  # of RTL text: at its right
    option.setWrapMode(QTextOption.WrapMode.NoWrap)
    option.setTextDirection(direction_of(text))
    return option
