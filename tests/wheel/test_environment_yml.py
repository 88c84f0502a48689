"""environment.yml names what setup.py declares, so that the two cannot drift apart."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from unittest import mock

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def declared() -> dict:
    """What setup.py hands to setuptools."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_the_environment_installs_this_package_with_extras_that_exist(declared, environment):
    assert environment["name"] == declared["name"]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    (requirement,) = pip
    match = re.fullmatch(r"-e \.\[([\w,]+)\]", requirement)
    assert match is not None, requirement
    extras = match[1].split(",")
    assert set(extras) <= set(declared["extras_require"]) and "cpu" in extras
    # gui takes the place of the headless OpenCV, which is required; few have a cluster or build the documentation
    apart = ("cpu", "gpu", "gui", "cluster", "docs", "fuzz", "all", "dev")
    everything = {name for name in declared["extras_require"] if name not in apart}
    installed = {package for extra in extras for package in declared["extras_require"][extra]}
    assert {package for extra in everything for package in declared["extras_require"][extra]} <= installed


def test_its_python_is_one_that_the_package_takes(declared, environment):
    (python,) = (entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    least = tuple(map(int, declared["python_requires"].removeprefix(">=").split(".")))
    assert tuple(map(int, python.removeprefix("python=").split("."))) >= least
    assert "pip" in environment["dependencies"] and "conda-forge" in environment["channels"]


def test_what_is_installed_by_conda_is_not_pinned_against_setup_py(declared, environment):
    by_conda = [re.split("[=<> ]", entry)[0] for entry in environment["dependencies"] if isinstance(entry, str)]
    required = {re.split("[=<>]", package)[0] for package in declared["install_requires"]}
    assert set(by_conda) == {"python", "pip"} and not required & set(by_conda)
