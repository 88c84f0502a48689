"""The rooms of the renderer: kernels know no people, people know no scene; one template for all alignment."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import synthetic
from arcface_paddle.pipeline.builders import build_recognizer
from arcface_paddle.synthetic.person.head import PACK_PATH
from arcface_paddle.synthetic.scene.camera import face_template

PACKAGE = Path(synthetic.__file__).parent
ROOMS_BELOW = {"kernels": {"kernels"}, "person": {"kernels", "person"}, "scene": {"kernels", "person", "scene"}}
CONTAINERS = {"generator", "jobs", "layout", "assembly", "writer", "contact_sheet"}
"""Modules beside the rooms that stand above them; the others (colour, projection, random streams) stand below."""


def imported_parts(path: Path) -> set[str]:
    """Return the first part below ``arcface_paddle.synthetic`` of everything that a module imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    prefix = "arcface_paddle.synthetic."
    return {name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)}


@pytest.mark.parametrize("room", ROOMS_BELOW)
def test_imports_go_one_way(room):
    paths = list((PACKAGE / room).glob("*.py"))
    assert len(paths) >= 5
    for path in paths:
        parts = imported_parts(path)
        forbidden = (parts & set(ROOMS_BELOW)) - ROOMS_BELOW[room] | parts & CONTAINERS
        assert not forbidden, f"{room}/{path.name} must not import {sorted(forbidden)}"


def test_every_kernel_is_compiled():
    """A function of the room that is not compiled would run a Python loop over pixels."""
    for path in (PACKAGE / "kernels").glob("*_kernels.py"):
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert functions, path
        for function in functions:
            (decorator,) = map(ast.unparse, function.decorator_list)
            assert decorator in ("compiled", "inlined"), function.name


def test_template_is_that_of_the_recogniser():
    template = face_template()
    card = build_recognizer("MobileFace").card
    np.testing.assert_array_equal(template, np.asarray(card.recognizer.template))
    with pytest.raises(ValueError, match="read-only"):
        template[0, 0] = 0


def test_pack_is_built_where_the_package_reads_it():
    tool = runpy.run_path(str(PACKAGE.parents[1] / "tools" / "build_head_pack.py"))
    assert tool["DEFAULT_OUTPUT"] == PACK_PATH
