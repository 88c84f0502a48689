"""The documentation site is built offline without a warning, and no link or anchor of it leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from site_pages import SITE, pages

pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install -e '.[docs]'")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return both languages, built; Sphinx's warnings are errors."""
    output = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, str(SITE / "build.py"), "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return output


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("img", "script", "source", "iframe") and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and given.get("href"):
            self.loaded.append(given["href"])


def test_every_page_is_there(site):
    for language in ("en", "zh"):
        for page in pages(language):
            assert (site / language / f"{page}.html").exists()


def test_every_link_and_anchor_leads_somewhere(site):
    read = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    assert len(read) > 200
    lost = []
    for path, page in read.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            known = read.get(target)
            if not target.exists() or (anchor and known is not None and anchor not in known.anchors):
                lost.append(f"{path.relative_to(site.resolve())}: {link}")
    assert not lost, "\n".join(sorted(set(lost))[:40])


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        assert not [link for link in Page(path).loaded if urlsplit(link).scheme in ("http", "https")], path


def test_the_chinese_search_finds_words_inside_of_sentences(site):
    index = (site / "zh" / "searchindex.js").read_text(encoding="utf-8")
    assert '"\u4eba\u8138"' in index or "\\u4eba\\u8138" in index  # "face", which stands between other characters
    splitter = (site / "zh" / "_static" / "language_data.js").read_text(encoding="utf-8")
    assert "flatMap" in splitter
    for language in ("en", "zh"):
        code = (site / language / "_static" / "language_data.js").read_text(encoding="utf-8")
        (stemmer,) = re.findall(r"window\.Stemmer = (\w+);", code)
        assert f"{stemmer}=function" in code or f"{stemmer} = function" in code, (
            f"{language}: no search without {stemmer}"
        )


class Words(HTMLParser):
    """What a page says outside of its article and its lists of pages: the words of the theme."""

    LEFT_OUT = ("script", "style", "article", "li")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.within = 0
        self.words: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.within += tag in self.LEFT_OUT
        self.words |= {said for name, said in attrs if name in ("aria-label", "placeholder") and said}

    def handle_endtag(self, tag):
        self.within -= tag in self.LEFT_OUT

    def handle_data(self, data):
        if not self.within and data.strip():
            self.words.add(" ".join(data.split()))


def test_the_theme_speaks_chinese_on_chinese_pages(site):
    names = {"arcface_paddle", "Furo", "English"}
    for page in ("index", "howto/serve", "search", "genindex"):
        words = Words(site / "zh" / f"{page}.html").words
        assert "搜索" in words or "跳到正文" in words
        english = {said for said in words if re.search("[A-Za-z]{3}", said) and not re.search("[\u4e00-\u9fff]", said)}
        assert not {said for said in english - names if not said.startswith(("arcface", "python", "Python"))}, page


def test_lists_of_pages_say_what_each_page_gives(site):
    for language in ("en", "zh"):
        page = (site / language / "people" / "index.html").read_text(encoding="utf-8")
        assert page.count('class="summary"') == 8
    assert "twenty years of photographs" in (site / "en" / "people" / "index.html").read_text(encoding="utf-8")


def test_wide_tables_and_long_commands_have_what_a_telephone_needs(site):
    page = (site / "en" / "migrate" / "deepface.html").read_text(encoding="utf-8")
    assert 'data-label="what is different"' in page and "wordy" in page
    assert '<span class="line">arcface-paddle' in page and '<span class="flag">--img_dir</span>' in page
