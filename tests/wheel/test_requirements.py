"""What setup.py asks for: reasons, what cannot be had, and the two files of exact versions agree with it."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from arcface_paddle.errors import FIRST_PYTHON_WITHOUT

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tools" / "requirements"
REASONS = ("wheel", "asked", "used", "faults", "oldest")


def declared(*extras: str) -> list[Requirement]:
    names = runpy.run_path(str(FOLDER / "declared.py"))["declared"](*extras)
    return [Requirement(name) for name in names]


def pins(name: str) -> dict[str, str]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def wanted_by(python: str, *extras: str) -> dict[str, Requirement]:
    there = {"python_version": python}
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in declared(*extras)
        if requirement.marker is None or requirement.marker.evaluate(there)
    }


@pytest.mark.parametrize(
    ("name", "python", "extras"), [("oldest.txt", "3.9", ("dev", "cluster")), ("lock.txt", "3.11", ("dev",))]
)
def test_exact_versions_are_there_for_all_and_within_the_bounds(name, python, extras):
    exact = pins(name)
    assert len(exact) > 80
    for package, requirement in wanted_by(python, *extras).items():
        assert requirement.specifier.contains(exact[package]), f"{requirement}, but {name} has {exact[package]}"


def test_oldest_really_is_the_lower_bound():
    exact = pins("oldest.txt")
    higher = set()
    for package, requirement in wanted_by("3.9", "dev", "cluster").items():
        (bound,) = (one.version for one in requirement.specifier if one.operator == ">=")
        least = bound.split(".")
        if exact[package].split(".")[: len(least)] != least and exact[package] != bound:
            higher.add(package)
    # what another package of the list asks for; versions that have no wheel for 3.9, or that were never published
    assert higher <= {"httpx", "pymilvus", "onnx", "pytest-xdist", "paddle2onnx"}


def test_every_lower_bound_has_its_reason():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    lines = text[text.index("REQUIREMENTS = [") : text.index("setup(\n")].splitlines()
    said = ""  # the comment lines right above
    for line in lines:
        if line.lstrip().startswith("#"):
            said += line
            continue
        if re.search(r'"[\w.\[\]-]+>=', line):
            assert re.search(rf"[(;] ?(?:{'|'.join(REASONS)})\b", said + line), line
        said = ""


def test_what_has_no_build_is_not_asked_for():
    for package, first_without in FIRST_PYTHON_WITHOUT.items():
        last = f"3.{first_without[1] - 1}"
        assert package in wanted_by(last, "cpu", "onnx")
        assert package not in wanted_by(f"3.{first_without[1]}", "cpu", "onnx")
    assert {"openvino", "onnx", "onnxruntime"} <= set(wanted_by("3.14", "cpu", "onnx"))


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11"])
def test_paddle_gets_the_setuptools_that_it_imports_and_does_not_ask_for(python):
    assert "setuptools" in wanted_by(python, "cpu") and "setuptools" in wanted_by(python, "gpu")


def test_this_python_is_among_those_of_the_classifiers(monkeypatch):
    with monkeypatch.context() as patch:
        handed = {}
        patch.setattr("setuptools.setup", handed.update)
        runpy.run_path(str(ROOT / "setup.py"))
    assert f"Programming Language :: Python :: {sys.version_info[0]}.{sys.version_info[1]}" in handed["classifiers"]
