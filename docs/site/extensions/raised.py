"""Finds every message with which the package tells a user of an error, by reading its source."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional, Sequence

import arcface_paddle

PACKAGE = Path(arcface_paddle.__file__).parent
ROOT_ERRORS = ("ArcfaceError", "ArgumentTypeError")
"""The base of the package's errors, and what argparse turns into "argument --flag: message"."""


@dataclass(frozen=True)
class Message:
    """One sentence of an error.

    Attributes:
        file: path inside the package, with ``/``.
        line: where it stands.
        kind: class of the error; "" where the caller says which.
        text: the sentence, with ``{name}`` where a value is put in.
    """

    file: str
    line: int
    kind: str
    text: str


@functools.cache
def messages() -> tuple[Message, ...]:
    """Return every message, file by file, in the order of the source."""
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
    trees = {file: ast.parse(text) for file, text in texts.items() if re.search(r"[Ee]rror\b", text)}
    kinds = error_kinds(list(trees.values()))
    found: list[Message] = []
    for file, tree in trees.items():
        name = file.relative_to(PACKAGE).as_posix()
        told = {message for message in _of_module(tree, name, kinds) if _says_something(message.text)}
        found += sorted(told, key=lambda message: (message.line, message.text))
    return tuple(found)


def _says_something(text: str) -> bool:
    """Tell whether a message has words of its own, and does not only pass on another's."""
    return len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\{[^}]*\}", "", text))) > 1


def error_kinds(trees: Sequence[ast.Module]) -> set[str]:
    """Return the names of all classes below ``ROOT_ERRORS``."""
    bases = {
        node.name: {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    kinds = set(ROOT_ERRORS)
    while True:
        more = {name for name, parents in bases.items() if parents & kinds} - kinds
        if not more:
            return kinds
        kinds |= more


def _of_module(tree: ast.Module, name: str, kinds: set[str]) -> Iterator[Message]:
    helpers = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if called == "MissingDependencyError":
            yield Message(name, node.lineno, called, _missing(node))
        elif called in kinds and node.args:
            for text in texts_of(node.args[0], helpers):
                yield Message(name, node.lineno, called, text)
        elif called == "error" and isinstance(node.func, ast.Name) and node.args:
            for text in texts_of(node.args[0], helpers):
                yield Message(name, node.lineno, "", text)


def _missing(node: ast.Call) -> str:
    values = {word.arg: _joined(texts_of(word.value, {})) for word in node.keywords}
    package = _joined(texts_of(node.args[0], {}))
    return f"{values.get('purpose', '{purpose}')} needs the package '{package}', which is not installed: pip install …"


def _joined(texts: Sequence[str]) -> str:
    return " / ".join(dict.fromkeys(texts)) or "…"


def texts_of(node: Optional[ast.expr], helpers: dict[str, ast.FunctionDef], *, depth: int = 0) -> list[str]:
    """Return what an expression may say: one text, or one for each branch and each return of a helper."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(_piece(part) for part in node.values)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = (texts_of(side, helpers, depth=depth) for side in (node.left, node.right))
        return [first + second for first in left for second in right[:1]]
    if isinstance(node, ast.IfExp):
        return texts_of(node.body, helpers, depth=depth) + texts_of(node.orelse, helpers, depth=depth)
    if isinstance(node, ast.Call) and depth < 2:
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if called in helpers:
            return _returned(helpers[called], helpers, depth=depth + 1)
    return ["{" + _name_of(node) + "}"] if node is not None else []


def _returned(function: ast.FunctionDef, helpers: dict[str, ast.FunctionDef], *, depth: int) -> list[str]:
    returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None]
    return [text for value in returns for text in texts_of(value, helpers, depth=depth)]


def _piece(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    if isinstance(part.value, ast.Constant):
        return str(part.value.value)
    return "{" + _name_of(part.value) + "}"


def _name_of(node: Optional[ast.expr]) -> str:
    """Return a short word for an expression: its last name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name_of(node.value)
    if isinstance(node, ast.Call):
        inner = node.args[0] if node.args else node.func
        return _name_of(inner) if not isinstance(inner, ast.Constant) else _name_of(node.func)
    return "…"
