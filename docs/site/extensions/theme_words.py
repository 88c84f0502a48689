"""The words of the theme in Chinese: furo has no translations, and many of its words are not marked for one.

A word is replaced together with the markup around it, so that the text of a page stays as it is. A word that the theme
no longer says is found by ``tests/docs/test_docs_site_build.py``, which looks for English ones in the built pages.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.jinja2glue import BuiltinTemplateLoader

_EXACT = {
    'aria-label="Toggle site navigation sidebar"': 'aria-label="打开或关闭站点导航"',
    'aria-label="Toggle table of contents sidebar"': 'aria-label="打开或关闭本页目录"',
    'aria-label="Toggle Light / Dark / Auto color theme"': 'aria-label="切换浅色、深色或跟随系统"',
    ">Skip to content</a>": ">跳到正文</a>",
    "<title>Contents</title>": "<title>目录</title>",
    "<title>Menu</title>": "<title>菜单</title>",
    "<title>Expand</title>": "<title>展开</title>",
    "<title>Light mode</title>": "<title>浅色</title>",
    "<title>Dark mode</title>": "<title>深色</title>",
    "<title>Auto light/dark, in light mode</title>": "<title>跟随系统，现为浅色</title>",
    "<title>Auto light/dark, in dark mode</title>": "<title>跟随系统，现为深色</title>",
    "<span>Back to top</span>": "<span>回到顶部</span>",
    "<span>Next</span>": "<span>下一页</span>",
    "<span>Previous</span>": "<span>上一页</span>",
    '<div class="title">Home</div>': '<div class="title">首页</div>',
}
_WITH_SPACES = (
    (re.compile(r"Copyright (?=&#169;)"), "版权 "),
    (re.compile(r"Made with\s+(?=<a )"), "页面主题："),
    (re.compile(r'(?<=<span class="toc-title">)\s*On this page\s*(?=</span>)'), "本页内容"),
    (re.compile(r'(?<=aria-label=")Toggle navigation of '), "展开或收起："),
)


class ChineseTemplates(BuiltinTemplateLoader):
    """Sphinx's templates, whose result speaks Chinese."""

    def render(self, template: str, context: dict[str, Any]) -> str:
        """Return a page with the theme's words replaced."""
        return in_chinese(super().render(template, context))


def in_chinese(page: str) -> str:
    """Return a page of the theme with its words in Chinese."""
    for english, chinese in _EXACT.items():
        page = page.replace(english, chinese)
    for pattern, chinese in _WITH_SPACES:
        page = pattern.sub(chinese, page)
    return page
