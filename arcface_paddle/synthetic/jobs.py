"""The work of one process: render a person, write the pictures, then note them; check what is already there."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import zlib
from pathlib import Path
from typing import Any, Dict, List, Optional

import cv2
import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.synthetic.generator import SyntheticFaces, SyntheticImage
from arcface_paddle.synthetic.layout import DatasetSettings, Layout
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json

_worker: Dict[str, Any] = {}


def start_worker(root: str, settings: DatasetSettings) -> None:
    """Prepare a worker process: the parent alone answers Ctrl-C, one core is enough, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    cv2.setNumThreads(1)
    _worker["layout"] = Layout(Path(root), settings)
    _worker["faces"] = settings.population()


def _end_with_parent() -> None:
    """Wait for the parent's end: the queue of a pool never closes by itself, since every worker holds both its ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_in_worker(identity: int) -> int:
    """Complete one person in a worker process; returns their number."""
    complete_identity(_worker["layout"], _worker["faces"], identity)
    return identity


def complete_identity(layout: Layout, faces: SyntheticFaces, identity: int) -> None:
    """Render all pictures of a person unless they are there and whole, and write the person's part."""
    if read_part(layout, identity) is not None:
        return
    lines = []
    for number in range(layout.settings.images_per_identity):
        shown = faces.render(identity, number)
        content = layout.encode(shown.image)
        name = layout.name(identity, number)
        layout.write_picture(name, content)
        lines.append(json.dumps(describe(shown, name, content), separators=(",", ":")))
    # The part comes last: a person who has one is complete.
    files.write_text(layout.part(identity), "\n".join(lines) + "\n")


def read_part(layout: Layout, identity: int) -> Optional[List[str]]:
    """Return the metadata lines of a person if every picture is there and has its checksum, else None."""
    try:
        lines = files.read_bytes(layout.part(identity)).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    if len(lines) != layout.settings.images_per_identity:
        return None
    whole = all(_is_whole(layout, line, layout.name(identity, number)) for number, line in enumerate(lines))
    return lines if whole else None


def describe(shown: SyntheticImage, name: str, content: bytes) -> Dict[str, Any]:
    """Return what is known about a picture, for one line of ``metadata.jsonl``."""
    lamps = shown.lamps
    return {
        "path": name,
        "label": shown.label,
        "image": shown.number,
        "session": shown.session,
        "crc32": zlib.crc32(content),
        "points": _rounded(shown.points),
        "box_xyxy": _rounded(shown.box_xyxy),
        "yaw_deg": round(shown.pose.yaw_deg, 2),
        "pitch_deg": round(shown.pose.pitch_deg, 2),
        "roll_deg": round(shown.pose.roll_deg, 2),
        "distance_m": round(shown.pose.distance_m, 3),
        "lamp_directions": _rounded(lamps.directions),
        "lamp_colors": _rounded(lamps.colors),
        "ambient": _rounded(lamps.ambient[:, 0]),
        "expression": shown.expression,
        "occluders": list(shown.occluders),
    }


def _is_whole(layout: Layout, line: str, name: str) -> bool:
    """Tell whether a line describes the picture of this name; a part may be damaged, or come from another machine."""
    try:
        entry = parse_json(line, name=name)
        return entry["path"] == name and zlib.crc32(layout.read_picture(name)) == entry["crc32"]
    except (OSError, DataError, *DOCUMENT_ERRORS):
        return False


def _rounded(values: np.ndarray) -> List[Any]:
    return np.round(np.asarray(values, dtype=np.float64), 3).tolist()
