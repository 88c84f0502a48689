"""Both languages of the documentation site have the same pages: headings, anchors, blocks, pictures, links."""

from __future__ import annotations

import re

import pytest
from site_pages import blocks, pages, source, without_blocks

PAGES = pages("en")


def test_both_languages_have_the_same_pages():
    assert pages("zh") == PAGES
    assert len(PAGES) > 100


def outline(text: str) -> dict[str, list[str]]:
    """Return all of a page that does not depend on its language."""
    prose = without_blocks(text)
    return {
        "levels of headings": re.findall(r"^(#+) ", prose, re.MULTILINE),
        "anchors": re.findall(r"^\(([^)\n]+)\)=$", prose, re.MULTILINE),
        "marks": re.findall(r"^<!-- (?!not run)[^\n]+ -->$", text, re.MULTILINE),
        "links": sorted(re.findall(r"\]\(([^)\s]+)\)", prose)),
        "columns of tables": [row.count("|") for row in re.findall(r"^\|[-| :]+\|$", prose, re.MULTILINE)],
        "rows of tables": [str(len(re.findall(r"^\|", prose, re.MULTILINE)))],
    }


def shown(text: str) -> list[tuple[str, str]]:
    """Return what is fenced: code without its comments, other parts without their words."""
    parts = []
    for block in blocks(text):
        if block.language.startswith("{"):
            options = [line for line in block.text.splitlines() if re.match(":(?!alt:)", line)]
            entries = block.text if "toctree" in block.language else "\n".join(options)
            parts.append((block.language, re.sub(r"^:caption:.*\n", "", entries, flags=re.MULTILINE)))
        else:
            parts.append((block.language, re.sub(r"\s*#.*$", "", block.text, flags=re.MULTILINE)))
    return parts


@pytest.mark.parametrize("page", PAGES)
def test_twins_have_one_outline(page):
    english, chinese = source("en", page), source("zh", page)
    assert outline(english) == outline(chinese)
    assert shown(english) == shown(chinese)
    assert [bool(block.not_run) for block in blocks(english)] == [bool(block.not_run) for block in blocks(chinese)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_a_title_and_a_paragraph_in_its_language(page):
    for language, letters in (("en", r"[a-z]{3}"), ("zh", r"[\u4e00-\u9fff]{2}")):
        text = source(language, page)
        title, _, rest = text.partition("\n\n")
        assert title.startswith("# ") and "\n" not in title, page
        assert re.search(letters, rest.partition("\n\n")[0]), f"{language}/{page} has no first paragraph"


def test_a_difference_would_be_noticed():
    page = "# A\n\n(here)=\n## B\n\n![](a.svg)\n\n```bash\nls  # all\n```\n"
    assert outline(page) != outline(page.replace("(here)=", "(there)="))
    assert outline(page) != outline(page.replace("a.svg", "b.svg"))
    assert shown(page) != shown(page.replace("ls", "pwd"))
    assert shown(page) == shown(page.replace("# all", "# 全部"))


def test_no_asterisk_of_emphasis_is_left_beside_chinese_words():
    """Markdown closes no emphasis behind a punctuation mark that a word follows, which Chinese does without a space."""
    markdown_it = pytest.importorskip("markdown_it")
    reader = markdown_it.MarkdownIt("commonmark").enable("table")
    for page in pages("zh"):
        for block in reader.parse(source("zh", page)):
            for part in block.children or ():
                left = part.type == "text" and re.search("[\u4e00-\u9fff？！。”]\\*|\\*[\u4e00-\u9fff]", part.content)
                assert not left, f"{page}: {part.content}"
