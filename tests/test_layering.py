"""The rules of the house, read off the syntax trees: who may import whom, and what no module does."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "arcface_paddle"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOT_MODULES = {
    *("devices", "errors", "files", "types", "images", "image_headers", "lazy_names", "pickle_machine"),
    *("progress", "safe_pickle", "signals", "temporaries", "untrusted", "weight_files"),
}
LEAVES = {"distributed", "reports"}
"""Rooms below all others: collectives need none of them, charts and pages neither."""
MAY_IMPORT = {
    "distributed": set(),
    "reports": set(),
    "backbones": {"distributed"},
    "heads": {"distributed"},
    "pipeline": {"backbones"},
    "video": {"pipeline", "reports"},
    "library": {"pipeline", "reports"},
    "service": {"pipeline", "video", "library"},
    "data": {"pipeline"},
    "synthetic": {"pipeline", "data"},
    "evaluation": {"data", "pipeline", "backbones", *LEAVES},
    "doctor": {"data", "pipeline", "evaluation", "reports"},
    "export": {"data", "pipeline", "backbones", "evaluation"},
    "training": {"evaluation", "heads", "backbones", "data", "pipeline", *LEAVES},
    "cli": {
        *("training", "export", "evaluation", "doctor", "synthetic", "data", "service", "library", "video"),
        *("pipeline", "heads", "backbones", *LEAVES),
    },
}
"""The rooms, from the bottom up, and which rooms each may import; the modules beside them are open to all."""
ROOT_MAY_IMPORT = {"__init__": {"cli", "pipeline"}, "__main__": {"cli"}}
"""Rooms that a module beside the rooms may import: the public names, and the command line of ``python -m``."""
OWN_PICKLES = {"data/workers/shared.py"}
"""May unpickle: bytes that the parent process put into memory for its own workers, never a file or a message."""
MATHS_ONLY = ("verification.py", "calibration.py", "identification.py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported_names(path: Path) -> set[str]:
    """Return every dotted module name that a file imports, function bodies included."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "arcface_paddle" and len(parts) > 1 else None


def test_every_room_is_known():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms <= set(MAY_IMPORT)
    beside = {path.stem for path in PACKAGE.glob("*.py")}
    assert beside == ROOT_MODULES | set(ROOT_MAY_IMPORT)


def test_every_folder_of_modules_is_a_package():
    """A folder without ``__init__.py`` works in the checkout and is missing from the wheel."""
    assert [path.parent.name for path in MODULES if not (path.parent / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    place = path.relative_to(PACKAGE)
    room = place.parts[0]
    allowed = ROOT_MAY_IMPORT.get(place.stem, set()) if len(place.parts) == 1 else {room, *MAY_IMPORT[room]}
    forbidden = {name for name in map(room_of, imported_names(path)) if name in MAY_IMPORT} - allowed
    assert not forbidden, f"{place} must not import {sorted(forbidden)}"


def test_one_importer_of_paddle_distributed():
    importers = {
        p.relative_to(PACKAGE).parts[0]
        for p in MODULES
        if any(n.startswith("paddle.distributed") for n in imported_names(p))
    }
    assert importers == {"distributed"}


@pytest.mark.parametrize("name", MATHS_ONLY)
def test_evaluation_maths_needs_no_paddle(name):
    path = PACKAGE / "evaluation" / name
    assert not any(module.split(".")[0] == "paddle" for module in imported_names(path))


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler is bare or broad; one that cleans up and raises again is neither."""
    broad = handler.type is None or getattr(handler.type, "id", "") in ("Exception", "BaseException")
    raises_again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return broad and not raises_again


def test_no_catch_all_no_eval_no_raw_pickle():
    complaints = []
    for path in MODULES:
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree_of(path)):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler) and catches_everything(node):
                complaints.append(f"{where} catches everything")
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("eval", "exec"):
                complaints.append(f"{where} calls {node.func.id}")
            unpickles = isinstance(node, ast.Attribute) and ast.unparse(node) in ("pickle.load", "pickle.loads")
            if unpickles and name not in OWN_PICKLES:
                complaints.append(f"{where} unpickles without restriction")
    assert not complaints


def test_only_the_border_decodes_pictures():
    """Elsewhere nobody would think of the list of formats and of the limits; tools too open what users have."""
    decoders = "cv2.imdecode", "cv2.imread", "cv2.imreadmulti", "Image.open"
    complaints = [
        f"{path}:{node.lineno} calls {ast.unparse(node.func)}"
        for path in [*MODULES, *(PACKAGE.parent / "tools").rglob("*.py"), *(PACKAGE.parent / "demo").rglob("*.py")]
        if path.name != "images.py" and path.parent.name != "benchmarks"  # which measure other readers of own pictures
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in decoders
        if "formats" not in [keyword.arg for keyword in node.keywords]
    ]
    assert not complaints


def test_only_the_command_line_prints():
    printing = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if path.relative_to(PACKAGE).parts[0] != "cli"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not printing


def test_import_is_light():
    heavy = "paddle", "numba", "matplotlib", "sklearn", "onnxruntime", "openvino", "visualdl", "cv2"
    code = f"import arcface_paddle, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
