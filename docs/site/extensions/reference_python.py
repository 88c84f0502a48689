"""The Python reference: the public names on one page by autodoc, and every room with all its modules on a page.

The rooms' pages are read from the source and not imported: they have some 2,000 names, for which autodoc and the links
from every annotation take minutes.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import Iterator, Optional, Union

import markdown

import arcface_paddle

PACKAGE = Path(arcface_paddle.__file__).parent
BESIDE = "beside"
"""Name of the page of the modules that belong to no room."""

_Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
_Named = Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef]
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")
_WORDS = {
    "en": {
        "Args": "Arguments",
        "Attributes": "Attributes",
        "Returns": "Returns",
        "Raises": "Raises",
        "Yields": "Yields",
    },
    "zh": {"Args": "参数", "Attributes": "属性", "Returns": "返回", "Raises": "抛出", "Yields": "产出"},
}


def rooms() -> list[str]:
    """Return the names of the packages inside the package, and ``BESIDE``."""
    return [*sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()), BESIDE]


def modules_of(room: str) -> list[str]:
    """Return the dotted names of a room's public modules that define something."""
    files = PACKAGE.glob("*.py") if room == BESIDE else (PACKAGE / room).rglob("*.py")
    dotted = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in sorted(files)]
    public = [name.removesuffix(".__init__") for name in dotted if not re.search(r"\._(?!_init__)", name)]
    return [name for name in public if name != "arcface_paddle" and names_of(name)]


@functools.cache
def tree_of(module: str) -> ast.Module:
    """Return the parsed source of a module."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def names_of(module: str) -> list[str]:
    """Return the classes and functions without underscore that a module defines at its top."""
    return [node.name for node in _public(tree_of(module).body)]


def _public(body: list[ast.stmt]) -> Iterator[_Named]:
    for node in body:
        if isinstance(node, _NAMED) and not node.name.startswith("_"):
            yield node


def _first_of_each_name(body: list[ast.stmt]) -> list[_Named]:
    """Return public definitions without setters and overloads, which repeat a name."""
    return list({node.name: node for node in reversed(list(_public(body)))}.values())[::-1]


def public_names(language: str) -> str:
    """Return the part of a page that explains what ``from arcface_paddle import ...`` gives."""
    parts = []
    for name in sorted(arcface_paddle._HOME_OF_NAME):
        kind = "autoclass" if name[0].isupper() else "autofunction"
        members = "   :members:\n" if kind == "autoclass" else ""
        parts.append(f"## {name}\n\n```{{eval-rst}}\n.. {kind}:: arcface_paddle.{name}\n{members}```")
    return "\n\n".join(parts)


def room(language: str, name: str) -> str:
    """Return the part of a page that explains all modules of a room."""
    return "\n\n".join(part for module in modules_of(name) for part in _module(module, language))


def _module(module: str, language: str) -> Iterator[str]:
    tree = tree_of(module)
    yield f"## {module.removeprefix('arcface_paddle.')}".replace("_", "\\_")
    if module.startswith("arcface_paddle.cli.commands."):  # whose docstring is the text of --help
        yield markdown.block(ast.get_docstring(tree) or "")
    else:
        yield described(ast.get_docstring(tree), language)
    for node in _first_of_each_name(tree.body):
        yield from _named(node, f"{module}.{node.name}", language)


def _named(node: _Named, dotted: str, language: str) -> Iterator[str]:
    yield f"({anchor_of(dotted)})=\n{markdown.block(_signature(node), language='python')}"
    inner = [described(ast.get_docstring(node), language)]
    if isinstance(node, ast.ClassDef):
        for method in _first_of_each_name(node.body):
            inner += _named(method, f"{dotted}.{method.name}", language)
    text = "\n\n".join(part for part in inner if part)
    if text:
        fence = ":" * (3 + max((len(run) for run in re.findall("^:+", text, re.MULTILINE)), default=0))
        yield f"{fence}{{container}} described\n{text}\n{fence}"


def anchor_of(dotted: str) -> str:
    """Return the anchor of a name; upper case is marked, because anchors do not tell it from lower case."""
    last = dotted.rpartition(".")[2]
    return f"class-{dotted}" if last[0].isupper() else dotted


def _signature(node: _Named) -> str:
    """Return the head of a definition; of a dataclass with its fields."""
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign) and _shown(one)]
        bases = f"({', '.join(ast.unparse(base) for base in node.bases)})" if node.bases else ""
        head = [*(f"@{ast.unparse(one)}" for one in node.decorator_list), f"class {node.name}{bases}:"]
        return "\n".join([*head, *(f"    {field}" for field in fields)])
    decorators = [f"@{ast.unparse(one)}" for one in node.decorator_list]
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{word} {node.name}({ast.unparse(node.args)}){returns}"
    if len(line) > 100:
        arguments = ",\n    ".join(_arguments(node))
        line = f"{word} {node.name}(\n    {arguments},\n){returns}"
    return "\n".join([*decorators, line])


def _arguments(node: _Function) -> list[str]:
    """Return the arguments of a function one by one, as they are written."""
    text = ast.unparse(node.args)
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]


def _shown(field: ast.AnnAssign) -> bool:
    return isinstance(field.target, ast.Name) and not field.target.id.startswith("_")


def described(docstring: Optional[str], language: str) -> str:
    """Return a docstring of Google's style as Markdown: paragraphs, indented code, and its sections as lists."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring or "")):
        title, _, rest = paragraph.partition("\n")
        if title.rstrip(":") in _SECTIONS and title.endswith(":"):
            parts.append(f"**{_WORDS[language][title.rstrip(':')]}**\n\n{_section(rest)}")
        elif paragraph.startswith(("    ", ">>> ")):
            text = inspect.cleandoc(paragraph)
            parts.append(markdown.block(text, language="python" if _is_python(text) else "text"))
        elif re.search(r"^(?: {2,}|[-*] |\d\. )", paragraph, re.MULTILINE):
            parts.append(markdown.block(paragraph))
        elif paragraph.strip():
            parts.append(markdown.prose(paragraph))
    return "\n\n".join(parts)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text.replace(">>> ", ""))
    except SyntaxError:
        return False
    return True


def _section(text: str) -> str:
    """Return the entries ``name: what it is`` of a section as a list; a text without names as it is."""
    entries = re.split(r"\n(?=\S)", inspect.cleandoc(text))
    lines = []
    for entry in entries:
        name, colon, meaning = entry.partition(": ")
        named = colon and re.fullmatch(r"[\w*., ]{1,60}", name)
        lines.append(f"- {markdown.code(name)}: {markdown.prose(meaning)}" if named else f"- {markdown.prose(entry)}")
    return "\n".join(lines)
