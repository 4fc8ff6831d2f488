"""Simple TeX read as text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.ui.widgets.markdown_math import math_glyphs


def shown(source: str) -> str:
    glyphs = math_glyphs(source)
    assert glyphs is not None
    return "".join({0: "", 1: "^", -1: "_"}[g.shift] + g.text for g in glyphs)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"E = mc^2", "E = mc²"),
        (r"x_1 \leq \alpha", "x₁ ≤ α"),
        (r"\frac{1 + \sqrt{5}}{2}", "(1 + √5)/2"),
        (r"O(n \log n)", "O(n log n)"),
        (r"-x - \sin(y)", "−x − sin(y)"),
        (r"N_d", "N_d"),
        (r"\sum_{i=1}^{n} i^2", "∑_i_=1ⁿ\u2009i²"),
        (r"\{1,2\}", "{1, 2}"),
        (r"v = \text{speed}", "v = speed"),
    ],
)
def test_simple(source: str, text: str) -> None:
    assert shown(source) == text


@pytest.mark.parametrize(
    "source", [r"\begin{matrix}1&2\end{matrix}", r"\unknown", "x^", "a}", "{a", "^2", "a^{b^c_d}", "", "x" * 3000]
)
def test_the_rest_is_left_as_it_is(source: str) -> None:
    assert math_glyphs(source) is None


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab12^_{}\\fracsqt =+-&,'"), max_size=40))
def test_any_source_ends(source: str) -> None:
    math_glyphs(source)


def test_deep_nesting_ends() -> None:
    assert math_glyphs("{" * 1500) is None
