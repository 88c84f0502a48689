"""The site's extensions: what breaks on a narrow screen, cards instead of wide tables, Chinese words of the theme."""

from __future__ import annotations

import pytest
from site_pages import SITE  # noqa: F401  (puts the extensions on the path)

pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install -e '.[docs]'")
import blocks
import theme_words
import wide_tables
from docutils import nodes
from pygments import highlight
from pygments.lexers import BashLexer


def test_each_line_of_a_block_is_an_element_with_its_end():
    html = highlight("ls -l\n\npwd\n", BashLexer(), blocks.LineFormatter())
    assert html.count('<span class="line">') == 3 and '<span class="line">\n</span>' in html
    assert html.count("<span") == html.count("</span>")
    assert ">--rec_model</span>" in highlight("a --rec_model=x -n 5", BashLexer(), blocks.LineFormatter())


@pytest.mark.parametrize(
    "text, in_columns",
    [
        ("+---+---+\n| a | b |\n+---+---+", True),
        ("  20  cos +0.940  ArcFace +0.661\n  40  cos +0.766  ArcFace +0.364", True),
        ("parity gate passed: 14 pictures\nwritten to imported", False),
        ("one line.  And another\nthree\nfour", False),
    ],
)
def test_output_in_columns_is_not_broken(text, in_columns):
    assert blocks.is_in_columns(text) is in_columns


def cells(*texts: str) -> list[nodes.entry]:
    return [nodes.entry("", nodes.paragraph(text, text)) for text in texts]


def code(text: str) -> list[nodes.entry]:
    return [*cells("what"), nodes.entry("", nodes.paragraph("", "", nodes.literal(text, text)))]


@pytest.mark.parametrize(
    "rows, wordy",
    [
        ([], False),
        ([cells("100,000", "777", "2,701", "0.6 ms")], False),
        ([cells("DeepFace.verify(a, b)", "compare(a, b).same_person", "the threshold of the model")], True),
        ([cells("one processor", "人脸识别技术应用安全管理办法", "二〇二五年起施行")], True),
        ([cells("sentences that are long break well in", "two columns, however long they may be")], False),
        ([code("--flag")], False),
        ([code("arcface-paddle import backbone.pth --output r50")], True),
    ],
)
def test_a_table_becomes_cards_where_its_rows_do_not_fit_a_telephone(rows, wordy):
    assert wide_tables.is_wordy(rows) is wordy


def test_the_theme_speaks_chinese_and_the_text_stays():
    page = '<a href="#m">Skip to content</a><span>Next</span><p>Next, see Menu</p> Made with \n <a href="f">Furo</a>'
    assert theme_words.in_chinese(page) == (
        '<a href="#m">跳到正文</a><span>下一页</span><p>Next, see Menu</p> 页面主题：<a href="f">Furo</a>'
    )
