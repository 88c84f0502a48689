"""Every command and Python example of the documentation site is run in order, page by page, or says why it is not.

A page's blocks run in a folder of its own with the repository's programs and photographs. ``<!-- not run: REASON -->``
before a block leaves it out; its commands have to be understood all the same. ``<!-- needs: COMMAND -->`` runs what is
not shown first. A page with ``<!-- runs long -->`` is run among the long tests.
"""

from __future__ import annotations

import re
import shlex
import sys

import pytest
import test_docs_readme as readme
from site_pages import Block, blocks, is_long, pages, source
from test_docs_capabilities import complaint

PAGES = [page for page in pages("en") if not page.startswith("reference/")]
RUN = [page for page in PAGES if any(block.is_run for block in blocks(source("en", page)))]
LANGUAGES = ("bash", "python")
PLAIN = ("text", "console", "yaml", "json", "toml", "ini", "diff", "html", "xml", "docker")
"""What is shown and is no command of ours: output, files, other toolkits' programs."""


def programs(page: str) -> list[Block]:
    """Return what runs one after the other; Python examples that follow each other are one program."""
    joined: list[Block] = []
    for block in blocks(source("en", page)):
        if not block.is_run:
            continue
        if block.needs:
            joined.append(Block("bash", block.needs, "", ""))
        if joined and block.language == joined[-1].language == "python":
            joined[-1] = Block("python", joined[-1].text + block.text, "", "")
        else:
            joined.append(block)
    return joined


def run_all(page: str, folder) -> None:
    for name in readme.LINKED:
        (folder / name).symlink_to(readme.ROOT / name)
    for block in programs(page):
        done = readme.run(block, folder)
        assert done.returncode == 0, f"{page}\n{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


on_unix = pytest.mark.skipif(
    sys.platform == "win32", reason="the blocks are for bash, as readers of Windows have in WSL"
)


@on_unix
@pytest.mark.parametrize("page", [page for page in RUN if not is_long(source("en", page))])
def test_every_block_runs(page, tmp_path):
    run_all(page, tmp_path)


@on_unix
@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in RUN if is_long(source("en", page))])
def test_every_block_of_a_long_page_runs(page, tmp_path):
    run_all(page, tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_known(page):
    for block in blocks(source("en", page)):
        assert block.language.startswith("{") or block.language in LANGUAGES + PLAIN, block.language
        assert not block.not_run or len(block.not_run.split()) >= 3, f"a reason, not {block.not_run!r}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood_whether_it_is_run_or_not(page):
    for block in blocks(source("en", page)):
        if block.language != "bash":
            continue
        for line in re.sub(r"\\\n", " ", block.text).splitlines():
            command = re.split(r" (?:\|\||&&|\||>) ", line.partition("  #")[0].strip())[0]
            if command and not command.startswith("#"):
                words = shlex.split(command)
                assert complaint(command) == "" if words else True, command
