"""The direction of a title."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from inglenook.ui.widgets.lines import direction_of, line_option

LTR, RTL = Qt.LayoutDirection.LeftToRight, Qt.LayoutDirection.RightToLeft


@pytest.mark.parametrize(
    ("text", "direction"),
    [("Hello", LTR), ("שלום world", RTL), ("مرحبا", RTL), ("12: שלום", RTL), ("a שלום", LTR), ("", LTR), ("…?", LTR)],
)
def test_first_letter_decides(text: str, direction: Qt.LayoutDirection) -> None:
    assert direction_of(text) is direction
    assert line_option(text).textDirection() is direction
