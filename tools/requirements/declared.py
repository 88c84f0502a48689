"""Print what setup.py declares, one requirement a line: ``python tools/requirements/declared.py dev cluster``.

For tools that resolve versions and cannot be told to build this package first.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from unittest import mock

SETUP = Path(__file__).parents[2] / "setup.py"


def declared(*extras: str) -> list[str]:
    """Return the requirements of the package and of extras, each once."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(SETUP))
    arguments = setup.call_args.kwargs
    optional = [requirement for extra in extras for requirement in arguments["extras_require"][extra]]
    return list(dict.fromkeys([*arguments["install_requires"], *optional]))


if __name__ == "__main__":
    print("\n".join(declared(*sys.argv[1:])))
