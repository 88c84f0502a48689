"""The notebooks of the documentation site run from their first cell to their last, and are kept without outputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import test_docs_readme as readme
from site_pages import SITE

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install -e '.[docs]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[docs]'")

NOTEBOOKS = sorted(path.name for path in (SITE / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(name):
    notebook = nbformat.read(SITE / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 3
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.skipif(sys.platform == "win32", reason="the cells call bash")
@pytest.mark.long
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    for linked in (*readme.LINKED, "inference_model"):
        (tmp_path / linked).symlink_to(readme.ROOT / linked)
    monkeypatch.setenv("PYTHONPATH", str(readme.ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(SITE / "notebooks" / name, as_version=4)
    stopping = "import subprocess, IPython\n"
    stopping += "def _checked(line):\n    subprocess.run(['bash', '-euc', line], check=True)\n"
    stopping += (
        "IPython.get_ipython().system = _checked\n"  # a '!' line that fails is an error, which IPython only prints
    )
    notebook.cells.insert(0, nbformat.v4.new_code_cell(stopping))
    done = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
