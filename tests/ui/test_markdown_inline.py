"""Inline markup and its safety."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.ui.widgets.markdown_inline import LINE, Run, heal, inline_runs, plain, safe_href


def test_styles() -> None:
    assert inline_runs("a **b *c*** `d` ~~e~~") == (
        Run("a "),
        Run("b ", bold=True),
        Run("c", bold=True, italic=True),
        Run(" "),
        Run("d", code=True),
        Run(" "),
        Run("e", strike=True),
    )


@pytest.mark.parametrize(
    "target",
    ["javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "smb://h/x",
     "//h/x", "relative/path", "about:blank", "java\tscript:x", "http:x"],
)  # fmt: skip
def test_other_schemes_are_no_links(target: str) -> None:
    assert safe_href(target) == ""
    for text in (f"[click]({target})", f"[click](<{target}>)", f"<{target}>", f"![alt]({target})"):
        assert all(run.href == "" for run in inline_runs(text)), text


@pytest.mark.parametrize("target", ["http://a.b/c", "https://a.b/c_d?e=f", "mailto:a@b.c"])
def test_three_schemes_are_links(target: str) -> None:
    assert inline_runs(f"[click]({target})") == (Run("click", href=target),)


def test_bare_addresses_are_links_without_the_punctuation_after_them() -> None:
    runs = inline_runs("see (https://a.b/c_(d)), and https://e.f.")
    assert [run.href for run in runs if run.href] == ["https://a.b/c_(d)", "https://e.f"]
    assert plain(runs) == "see (https://a.b/c_(d)), and https://e.f."


def test_html_is_text_and_br_is_a_line() -> None:
    assert (
        plain(inline_runs("<script>x</script> <img src=http://a/b.png>"))
        == "<script>x</script> <img src=http://a/b.png>"
    )
    assert plain(inline_runs("a<br>b<br/>c")) == f"a{LINE}b{LINE}c"


def test_an_image_is_its_words_and_a_link() -> None:
    assert inline_runs("![a cat](http://a.b/c.png)") == (Run("a cat", italic=True, href="http://a.b/c.png"),)


def test_direction_overrides_are_shown() -> None:
    assert plain(inline_runs("a\u202eb")) == "a⟨RLO⟩b"
    assert plain(inline_runs("`a\u2066b`")) == "a⟨LRI⟩b"
    assert plain(inline_runs("[a\u200fb](http://c.d)")) == "a⟨RLM⟩b"
    assert plain(inline_runs("a\u200fb")) == "a\u200fb"  # harmless in prose, needed there


@pytest.mark.parametrize(
    ("source", "shown"),
    [(r"\(a_1 * b_2 * c\)", "a₁ ∗ b₂ ∗ c"), (r"$$\begin{x} a_1 *b* \end{x}$$", r"\begin{x} a_1 *b* \end{x}")],
)
def test_markdown_leaves_math_alone(source: str, shown: str) -> None:
    runs = inline_runs(source)
    assert plain(runs) == shown
    assert all(run.math or run.formula for run in runs)


@pytest.mark.parametrize(
    ("source", "formulas"),
    [
        ("so $x$ and $n + 1$, thus $x_1 * y_2 * z$.", ["x", "n + 1", "x₁ ∗ y₂ ∗ z"]),
        ("($O(n)$)", ["O(n)"]),
        ("$-1$ to $100$", ["−1", "100"]),
        ("it costs $5 and $10, or 5$ to 10$", []),
        ("between $5-$10; US$5 (A$7)", []),
        ("echo $HOME/$USER and $PATH", []),
        ("we paid $20 (about 18 euros, with the tip) and got 5$.", []),
        (r"\$x$ and $$", []),
        ("`$x$`", []),
        ("$ x $", []),
        ("$x\n\n$", []),
    ],
)
def test_single_dollars_are_math_only_where_they_look_like_it(source: str, formulas: list[str]) -> None:
    runs = inline_runs(source)
    found = "".join(run.text if run.math or run.formula else "|" for run in runs)
    assert [text for text in found.split("|") if text] == formulas


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab *_`~[]()!<>\\$&;:/#\n\u202e漢"), max_size=60))
def test_any_text_gives_runs(text: str) -> None:
    runs = inline_runs(text)
    assert all(run.text for run in runs)
    assert not any("\u202e" in run.text or "\n" in run.text for run in runs)
    inline_runs(heal(text))


@pytest.mark.parametrize(
    ("text", "healed"),
    [("a **b", "a **b**"), ("a **", "a "), ("a `b", "a `b`"), ("see [doc](http://x", "see doc"), ("**a**", "**a**"),
     ("a ~~b", "a ~~b~~"), ("\\(x", "\\(x\\)"), ("`a` b", "`a` b"), ("plain", "plain")],
)  # fmt: skip
def test_heal_closes_what_is_open(text: str, healed: str) -> None:
    assert heal(text) == healed
