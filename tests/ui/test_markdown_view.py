"""The drawn text: streaming, selection, links, direction, and that nothing in it can load anything."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QAccessible, QGuiApplication, QHelpEvent, QMouseEvent, QTextDocument
from PySide6.QtWidgets import QApplication, QLabel, QToolTip, QWidget
from pytestqt.qtbot import QtBot

from inglenook.ui.theme import Theme
from inglenook.ui.widgets.code_block import CodeVisual
from inglenook.ui.widgets.markdown_source import Kind
from inglenook.ui.widgets.markdown_style import Style
from inglenook.ui.widgets.markdown_table import TableVisual
from inglenook.ui.widgets.markdown_text import TextVisual
from inglenook.ui.widgets.markdown_view import MarkdownView

SAMPLE = """# Title

Some **bold** `code` and [a link](https://example.org/x).

1. one
2. two
   - nested

| a | b |
|---|---|
| 1 | 2 |

```python
def f():
    return "漢字"
```

> quoted

\\[ x^2 \\]

---

مرحبا بالعالم
"""

PIECES = st.sampled_from(
    ["# ", "- ", "1. ", "> ", "```\n", "\n", "\n\n", "| a |\n", "|---|\n", "**", "`", "$$", "word ", "[x](http://a.b)",
     "<b>", "é", "漢", "😀", "\u202e", "שלום ", "\t", "x" * 1100]
)  # fmt: skip
MakeView = Callable[..., MarkdownView]


@pytest.fixture
def make_view(qtbot: QtBot, theme: Theme) -> MakeView:
    def make(text: str = "", *, width: int = 500, plain: bool = False) -> MarkdownView:
        view = MarkdownView(theme, Style.of(theme), plain=plain)
        qtbot.addWidget(view)
        if text:
            view.set_text(text)
        view.relayout(width)
        view.show()
        return view

    return make


def structure(view: MarkdownView) -> list[tuple[object, str, float, float]]:
    return [(row.visual.leaf, row.visual.text, row.visual.y, row.visual.height) for row in view._rows]


def stream(view: MarkdownView, text: str, cut: random.Random, width: int = 500) -> None:
    at = 0
    while at < len(text):
        size = cut.randint(1, 12)
        view.append(text[at : at + size])
        view.relayout(width)
        at += size
    view.finish()
    view.relayout(width)


def test_streamed_is_what_is_shown_at_once(make_view: MakeView) -> None:
    whole = make_view(SAMPLE)
    for seed in range(5):
        view = make_view()
        stream(view, SAMPLE, random.Random(seed))
        assert view.plain_text() == whole.plain_text()
        assert structure(view) == structure(whole)
        assert view.height() == whole.height()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=30), st.integers())
def test_any_text_is_drawn_and_streams_the_same(make_view: MakeView, pieces: list[str], seed: int) -> None:
    text = "".join(pieces)
    whole, view = make_view(text), make_view()
    stream(view, text, random.Random(seed))
    assert structure(view) == structure(whole)
    for shown in (view, whole):
        shown.grab()
        shown.select_all()
        shown.copy()
        for x in (-5, 30, 600):
            for y in range(-5, shown.height() + 10, 17):
                shown.mouseDoubleClickEvent(_move(QPointF(x, y)))
                shown._link_under(QPointF(x, y))
        shown.deleteLater()


def test_finished_blocks_are_not_made_again(make_view: MakeView) -> None:
    view = make_view()
    view.append("First.\n\n```py\na = 1\n```\n\nLast")
    before = [row.visual for row in view._rows]
    view.append(" and more.\n\nNext")
    assert [row.visual for row in view._rows][:2] == before[:2]


def test_a_growing_code_block_stays_one_visual_and_keeps_its_lines(make_view: MakeView) -> None:
    view = make_view()
    view.append("```python\nx = 1\n")
    view.relayout(500)
    (row,) = view._rows
    code = row.visual
    assert isinstance(code, CodeVisual)
    for i in range(300):
        view.append(f"y{i} = '{i}'\n")
        view.relayout(500)
    assert view._rows[0].visual is code
    view.append("```\n")
    view.finish()
    assert code.text.split("\n")[-1] == "y299 = '299'"
    assert code.height > 300 * 10


def test_code_is_highlighted_and_copied(qtbot: QtBot, make_view: MakeView) -> None:
    view = make_view("```python\ndef f(): return 'a'\n```")
    code = view._rows[0].visual
    assert isinstance(code, CodeVisual)
    roles = {role for line in code._highlighter.spans for _start, _length, role in line}
    assert {"keyword", "function", "string"} <= roles
    qtbot.mouseClick(code._button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "def f(): return 'a'"
    assert code._button.text() == "Copied"


def test_long_code_is_highlighted_in_slices(qtbot: QtBot, make_view: MakeView) -> None:
    view = make_view("```python\n" + "x = '1'  # n\n" * 2000 + "```")
    code = view._rows[0].visual
    assert isinstance(code, CodeVisual)
    assert code._timer.isActive()
    qtbot.waitUntil(lambda: not code._timer.isActive())
    assert all(code._highlighter.spans[i] for i in range(2000))


def test_wide_code_scrolls_and_long_lines_are_broken(make_view: MakeView) -> None:
    view = make_view("```\n" + "x" * 5000 + "\nshort\n```")
    code = view._rows[0].visual
    assert isinstance(code, CodeVisual)
    assert len(code._lines) == 6
    assert code.scroll_sideways(-50)
    assert code._bar.value == 50
    view.select_all()
    assert view.selected_text() == "x" * 5000 + "\nshort"


def test_code_runs_left_to_right_with_overrides_shown(make_view: MakeView) -> None:
    view = make_view("```\nשלום = 1 \u202e2\n```")
    code = view._rows[0].visual
    assert isinstance(code, CodeVisual)
    assert code.text == "שלום = 1 ⟨RLO⟩2"
    assert code.cursor_x(len(code.text)) > code.cursor_x(0)


def test_direction_by_first_strong_character(make_view: MakeView) -> None:
    view = make_view("English שלום\n\n1. שלום English\n\n- مرحبا")
    assert [row.visual.right_to_left for row in view._rows] == [False, True, True]


def test_selection_goes_through_all_blocks(qtbot: QtBot, make_view: MakeView) -> None:
    view = make_view(SAMPLE)
    view.select_all()
    text = view.selected_text()
    for piece in (
        "Title",
        "bold code and a link",
        "1. one",
        "  • nested",
        "a\tb\n1\t2",
        'return "漢字"',
        "quoted",
        "x²",
        "مرحبا",
    ):
        assert piece in text
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == text


def test_dragging_selects_and_double_click_takes_a_word(qtbot: QtBot, make_view: MakeView) -> None:
    view = make_view("alpha beta gamma\n\nsecond paragraph")
    first, second = (row.visual for row in view._rows)
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(5, int(first.y + 10)))
    qtbot.mouseMove(view, QPoint(480, int(second.y + 10)))
    view.mouseMoveEvent(_move(QPointF(480, second.y + 10)))
    assert view.selected_text() == "alpha beta gamma\n\nsecond paragraph"
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(480, int(second.y + 10)))
    assert isinstance(first, TextVisual)
    beta = first.spans(6, 10)[0].center() + QPointF(first.x, first.y)
    qtbot.mouseDClick(view, Qt.MouseButton.LeftButton, pos=beta.toPoint())
    assert view.selected_text() == "beta"


def _move(at: QPointF) -> QMouseEvent:
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    return QMouseEvent(QEvent.Type.MouseMove, at, at, Qt.MouseButton.NoButton, left, none)


def test_links_by_mouse_key_and_tooltip(qtbot: QtBot, make_view: MakeView) -> None:
    view = make_view("see [here](https://example.org/x) and [no](javascript:alert(1))")
    visual = view._rows[0].visual
    assert isinstance(visual, TextVisual)
    point = (visual.spans(4, 8)[0].center() + QPointF(visual.x, visual.y)).toPoint()
    with qtbot.waitSignal(view.link_activated) as clicked:
        qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=point)
    assert clicked.args == ["https://example.org/x"]
    QApplication.sendEvent(view, QHelpEvent(QEvent.Type.ToolTip, point, view.mapToGlobal(point)))
    assert QToolTip.text() == "https://example.org/x"
    view.setFocus(Qt.FocusReason.TabFocusReason)
    assert view.focusNextPrevChild(True)
    with qtbot.waitSignal(view.link_activated) as pressed:
        qtbot.keyClick(view, Qt.Key.Key_Return)
    assert pressed.args == ["https://example.org/x"]
    assert view._links() == [(0, 4, 8, "https://example.org/x")]


HOSTILE = """<img src="http://evil.example/a.png"> <script>alert(1)</script> <iframe src=file:///etc/passwd>

![x](http://evil.example/b.png) ![y](file:///etc/passwd) [z](data:text/html;base64,AAAA)

<a href="http://evil.example" onclick="x">y</a> &lt;b&gt; | <table background=http://evil.example/c.png>

| <img src=http://evil.example/d.png> | b |
|---|---|
| ![t](http://evil.example/e.png) | [q](javascript:1) |

```html
<img src="http://evil.example/f.png">
```
"""


def test_hostile_text_loads_nothing(make_view: MakeView) -> None:
    view = make_view(HOSTILE)
    view.grab()
    assert view.findChildren(QTextDocument) == []  # text is laid out without documents: nothing can be loaded
    assert view.text() == ""
    for child in view.findChildren(QWidget):
        assert not isinstance(child, QLabel)
        assert "<" not in child.toolTip()
    assert '<img src="http://evil.example/a.png">' in view.plain_text()
    assert all(link[3].startswith("http://evil.example") for link in view._links())  # to be clicked, never fetched
    assert {"http://evil.example/b.png", "http://evil.example/e.png"} <= {link[3] for link in view._links()}


def test_tables_fit_wrap_or_scroll(make_view: MakeView) -> None:
    head = "| " + " | ".join(f"column{i}" for i in range(12)) + " |\n" + "|---" * 12 + "|\n"
    view = make_view(head + "| " + " | ".join(["unbreakable_word_here"] * 12) + " |\n", width=400)
    table = view._rows[0].visual
    assert isinstance(table, TableVisual)
    assert table.scroll_sideways(-100)
    narrow = make_view("| a | b |\n|---|---|\n| " + "many words " * 30 + "| x |\n", width=400)
    wrapped = narrow._rows[0].visual
    assert isinstance(wrapped, TableVisual)
    assert wrapped._total() <= 400
    assert not wrapped.scroll_sideways(-100)


def test_plain_text_is_shown_as_typed(make_view: MakeView) -> None:
    view = make_view("**not bold**\n<b>x</b>\n\n    indented", plain=True)
    assert view.plain_text() == "**not bold**\n<b>x</b>\n\n    indented"
    assert {row.visual.leaf.kind for row in view._rows} == {Kind.PLAIN}


def test_screen_readers_find_text(make_view: MakeView) -> None:
    view = make_view("Some **bold** text")
    interface = QAccessible.queryAccessibleInterface(view)
    assert interface.role() is QAccessible.Role.StaticText
    assert interface.text(QAccessible.Text.Name) == "Some bold text"


def test_narrow_and_wide(make_view: MakeView) -> None:
    view = make_view(SAMPLE + "a longer paragraph " * 20)
    before = view.height()
    assert view.relayout(250) > before
    assert view.relayout(500) == before


def test_inline_code_among_words_from_right_to_left_has_its_background_behind_it(make_view: MakeView) -> None:
    """Where the direction changes, a position has two places; the same words alone are as wide."""
    view = make_view("عنصر مع `code here` في الوسط\n\nwords with `code here` within")
    arabic, latin = (row.visual for row in view._rows)
    assert isinstance(arabic, TextVisual)
    assert isinstance(latin, TextVisual)
    widths = []
    for visual in (arabic, latin):
        at = visual.text.index("code")
        (span,) = visual.spans(at, at + 9)
        widths.append(span.width())
    assert widths[0] == pytest.approx(widths[1], abs=6)


def test_what_follows_a_quotation_that_ends_with_a_list_keeps_its_distance(make_view: MakeView) -> None:
    view = make_view("> words\n>\n> - one\n> - two\n\n1. First\n2. Second")
    tops = [(row.visual.y, row.visual.y + row.visual.height) for row in view._rows]
    after_quotation, between_items = tops[3][0] - tops[2][1], tops[4][0] - tops[3][1]
    assert after_quotation > 2 * between_items
