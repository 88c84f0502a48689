"""All small changes of a source file that a test should notice."""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections.abc import Iterator
from typing import Optional, Union

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_EXTREMES = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "argmax": "argmin",
    "amin": "amax",
    "amax": "amin",
}
_LOOKS = frozenset({"alpha", "borderaxespad", "capsize", "fontsize", "linewidth", "markersize", "ncols"})


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One changed copy of a file.

    Attributes:
        file: Relative to the root, with slashes.
        function: Qualified name of the innermost function or class around the change, ``""`` at module level.
        change: ``kind: what stood there -> what stands there``.
        nth: Counts equal changes of one function from 0, so that the three names stay unique and outlive other edits.
        lines: First and last line of the changed text, from 1.
        shown: The first of them, stripped.
        statement: First line of the statement that holds it: a test that reaches the change has passed there.
        begin, end: The changed bytes of the UTF-8 source.
        text: What takes their place; it has as many lines, so that all that follows stays where it is.
        live: First line of the outermost function whose body holds the change; None for what runs at import.
    """

    file: str
    function: str
    change: str
    nth: int
    lines: tuple[int, int]
    shown: str
    statement: int
    begin: int
    end: int
    text: str
    live: Optional[int]

    @property
    def key(self) -> str:
        return f"{self.file} | {self.function} | {self.change} | {self.nth}"

    def apply(self, source: str) -> str:
        """Return the changed source."""
        raw = source.encode()
        return (raw[: self.begin] + self.text.encode() + raw[self.end :]).decode()


def mutants(source: str, file: str) -> list[Mutant]:
    """List all mutants of a file, in the order of their place.

    Annotations, strings, f-strings, docstrings and what a ``raise`` says are left alone: a change there is seen by
    nobody, or is a change of words.
    """
    finder = _Finder(source, file)
    finder.visit(ast.parse(source))
    return finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str, file: str) -> None:
        self.found: list[Mutant] = []
        self._source = source.encode()
        self._file = file
        self._starts = [0]
        for line in self._source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._names: list[str] = []
        self._live: Optional[int] = None
        self._statement = 1
        self._counts: dict[tuple[str, str], int] = {}

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._statement = node.lineno
        super().visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for kind, changed in _changes(node):
            self._add(node, kind, changed)
        super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for outside in (*node.decorator_list, node.args):
            self.visit(outside)
        live_before, self._names = self._live, [*self._names, node.name]
        compiled = any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)
        if live_before is None and not compiled:
            self._live = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        for statement in node.body:
            self.visit(statement)
        self._live, self._names = live_before, self._names[:-1]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Leave the decorators alone: that a dataclass is frozen serves its readers."""
        self._names.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self._names.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """An annotation is no program."""

    def visit_keyword(self, node: ast.keyword) -> None:
        """Leave alone how large or thick something is drawn: nobody could say which is right."""
        if node.arg not in _LOOKS:
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Its parts have no places of their own before Python 3.12."""

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add(node, "removed", "pass")

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return
        self.generic_visit(node)

    def _add(self, node: ast.AST, kind: str, changed: str) -> None:
        begin = self._starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self._starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        before = self._source[begin:end].decode()
        missing = "\n" * (before.count("\n") - changed.count("\n"))
        text = changed + missing if isinstance(node, ast.stmt) else f"({changed}{missing})"
        function = ".".join(self._names)
        change = f"{kind}: {' '.join(before.split())} -> {' '.join(changed.split())}"
        nth = self._counts.get((function, change), 0)
        self._counts[function, change] = nth + 1
        lines = (node.lineno, node.end_lineno)  # type: ignore[attr-defined]
        shown = self._source.splitlines()[lines[0] - 1].decode().strip()
        place = (lines, shown, self._statement, begin, end)
        self.found.append(Mutant(self._file, function, change, nth, *place, text, self._live))


def _changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield kind and new text of every change at this node."""
    if isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)):
        yield from _arithmetic(node)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield "and/or", ast.unparse(ast.BoolOp(other, node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", ast.unparse(node.operand)
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield "returned", "return None"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "removed", "pass"
    elif isinstance(node, ast.Call):
        yield from _extremes(node)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield from _slices(node)
    elif isinstance(node, ast.IfExp) and isinstance(node.test, (ast.Name, ast.Attribute, ast.Call)):
        yield "branch", ast.unparse(ast.IfExp(node.test, node.orelse, node.body))


def _comparisons(node: ast.Compare) -> Iterator[tuple[str, str]]:
    for place, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            changed = copy.deepcopy(node)
            changed.ops[place] = other()
            yield "compared", ast.unparse(changed)


def _arithmetic(node: Union[ast.BinOp, ast.AugAssign]) -> Iterator[tuple[str, str]]:
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    if any(map(_is_text, sides)):
        return
    other = _ARITHMETIC.get(type(node.op))
    if other is not None:
        changed = copy.deepcopy(node)
        changed.op = other()
        yield "computed", ast.unparse(changed)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))


def _constants(node: ast.Constant) -> Iterator[tuple[str, str]]:
    if isinstance(node.value, bool):
        yield "constant", str(not node.value)
    elif isinstance(node.value, (int, float)):
        yield "constant", repr(node.value + 1)
        yield "constant", repr(node.value - 1)


def _extremes(node: ast.Call) -> Iterator[tuple[str, str]]:
    changed = copy.deepcopy(node)
    called = changed.func
    if isinstance(called, ast.Name) and called.id in _EXTREMES:
        called.id = _EXTREMES[called.id]
        yield "extreme", ast.unparse(changed)
    elif isinstance(called, ast.Attribute) and called.attr in _EXTREMES:
        called.attr = _EXTREMES[called.attr]
        yield "extreme", ast.unparse(changed)


def _slices(node: ast.Subscript) -> Iterator[tuple[str, str]]:
    for end in ("lower", "upper", "step"):
        if isinstance(node.slice, ast.Slice) and getattr(node.slice, end) is not None:
            changed = copy.deepcopy(node)
            setattr(changed.slice, end, None)
            yield "slice", ast.unparse(changed)
