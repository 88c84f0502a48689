"""Search in Chinese pages without a dictionary: text and queries are cut into pairs of neighbouring characters.

Sphinx's own Chinese search needs the package jieba, and without it finds Latin words only. Pairs find every word of two
or more characters, in a few kilobytes, and the browser cuts a query by the same rule.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

_HAN = "\u4e00-\u9fff"
_RUNS = re.compile(rf"[{_HAN}]+|[A-Za-z0-9_]+")


class SearchChinesePairs(SearchEnglish):
    """Pairs of characters for Chinese, stems for Latin words."""

    lang = "zh"
    language_name = "English"  # names the browser's stemmer, of which there is none for Chinese: no search without it
    js_splitter_code = """
function splitQuery(query) {
  const runs = query.match(/[\\u4e00-\\u9fff]+|[A-Za-z0-9_]+/g) || [];
  return runs.flatMap((run) => {
    if (!/[\\u4e00-\\u9fff]/.test(run) || run.length < 3) return [run];
    return Array.from({length: run.length - 1}, (_, index) => run.slice(index, index + 2));
  });
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002  (Sphinx's name)
        """Return Latin words, and Chinese runs as characters and pairs of neighbours."""
        words: list[str] = []
        for run in _RUNS.findall(input):
            words += _pairs(run) if re.match(f"[{_HAN}]", run) else [run]
        return words

    def word_filter(self, stemmed_word: str) -> bool:
        """Keep single Chinese characters, too: there are words of one."""
        return bool(re.match(f"[{_HAN}]", stemmed_word)) or super().word_filter(stemmed_word)


def _pairs(run: str) -> list[str]:
    return [*run, *(run[index : index + 2] for index in range(len(run) - 1))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Take the place of Sphinx's Chinese search."""
    app.add_search_language(SearchChinesePairs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
