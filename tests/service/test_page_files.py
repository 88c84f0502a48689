"""The files of the web page: what can be said of them without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arcface_paddle import service
from arcface_paddle.service import errors
from arcface_paddle.service.errors import CODES_OF_STATUSES, INTERNAL, INVALID

PAGE = Path(service.__file__).parent / "page"
MODULES = sorted(PAGE.rglob("*.js"))
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
TEXT = re.compile(r'^  "([\w.]+)": \{ en: "((?:[^"\\]|\\.)*)", zh: "((?:[^"\\]|\\.)*)" \},$', re.MULTILINE)
VALUE = re.compile(r"\{\w+\}")
NAMESPACE = r"access|bulk|page|dialog|error|picture|camera|face|recognise|people|unknown|compare|settings"

_ids = [path.relative_to(PAGE).as_posix() for path in MODULES]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def texts() -> dict[str, tuple[str, str]]:
    return {key: (english, chinese) for key, english, chinese in TEXT.findall(read(PAGE / "i18n.js"))}


def test_every_text_has_both_languages_and_the_same_values():
    table = re.search(r"const TEXTS = \{\n(.*?)\n\};", read(PAGE / "i18n.js"), re.DOTALL)
    lines = [line for line in table.group(1).splitlines() if line]
    assert len(lines) == len(texts()) > 100  # every line is a text in two languages, and none comes twice
    for key, (english, chinese) in texts().items():
        assert english.strip() and chinese.strip(), key
        forms = [set(VALUE.findall(form)) for form in english.split("|")]
        assert all(form <= set(VALUE.findall(chinese)) for form in forms), key
        assert set(VALUE.findall(chinese)) <= set().union(*forms), key


def test_texts_that_are_asked_for_exist_and_no_other():
    asked = set()
    for path in (*MODULES, PAGE / "index.html"):
        if path.name != "i18n.js":
            asked |= set(re.findall(rf'"((?:{NAMESPACE})\.\w+)"', read(path)))
    views = {f"{name}.tab" for name in re.findall(r'href="#(\w+)"', read(PAGE / "index.html")) if name != "main"}
    codes = {f"code.{code}" for code in codes_of_the_service()}
    assert asked | views | codes == set(texts())


def codes_of_the_service() -> set[str]:
    answered = [INTERNAL, INVALID, *errors.TABLE.values()]
    return {code for _, code in answered} | set(CODES_OF_STATUSES.values()) | {"bad_request"}


def test_every_code_of_an_error_has_a_text_in_both_languages():
    for code in codes_of_the_service():
        english, chinese = texts()[f"code.{code}"]
        assert english.endswith(".") and chinese.endswith("。") and re.search("[\u4e00-\u9fff]", chinese), code


def test_nothing_is_inline_for_the_content_security_policy():
    html = read(PAGE / "index.html")
    assert not re.search(r"\son\w+\s*=", html), "a handler in an attribute"
    assert not re.search(r"<style|\sstyle\s*=", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(PAGE).as_posix() for path in FILES])
def test_nothing_comes_from_elsewhere(path):
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*|https?://[^\s\"']+", read(path)))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a format, which nobody fetches


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_modules_make_no_markup_of_strings(path):
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|setTimeout\(['\"]"
    )
    assert not re.search(forbidden, read(path))


@pytest.mark.parametrize("path", MODULES, ids=_ids)
def test_imports_of_modules_are_files_of_the_page(path):
    for target in re.findall(r'from "([^"]+)"', read(path)):
        assert (path.parent / target).resolve() in MODULES


def test_the_key_is_kept_in_the_tab_only():
    for path in MODULES:
        assert not re.search(r"localStorage\.setItem\([^)]*key", read(path), re.IGNORECASE)
    assert "sessionStorage" in read(PAGE / "api.js")
