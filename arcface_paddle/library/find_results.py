"""What a search found, for people and programs: lines, JSON, CSV, a folder of links, a page."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import urllib.parse
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ConfigError, DataError, ImageError
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.library.finding import FoundPicture
from arcface_paddle.pipeline.results import spreadsheet_cell
from arcface_paddle.reports import html

TEXT, PATHS, JSON, CSV = "text", "paths", "json", "csv"
FORMATS = (TEXT, PATHS, JSON, CSV)

MOST_ON_PAGE = 500
"""Pictures of a page that carries them: 15 MB."""

_SHOWN_PX = 320
_FRAME_RGB = np.array((255, 196, 0), np.uint8)
_OUR_NAME = re.compile(r"\d{4,} .+")


def listed(found: Sequence[FoundPicture], people: PeopleDocument, *, form: str) -> str:
    """Return the pictures that were found as text of one of ``FORMATS``, without a line end behind the last line."""
    forms: dict[str, Callable[[Sequence[FoundPicture], PeopleDocument], str]] = {
        TEXT: _as_lines, PATHS: _as_paths, JSON: _as_json, CSV: _as_csv,
    }  # fmt: skip
    return forms[form](found, people)


def path_of(found: FoundPicture, people: PeopleDocument) -> str:
    """Return where a picture lies."""
    return str(Path(people.root) / found.picture.path)


def _as_lines(found: Sequence[FoundPicture], people: PeopleDocument) -> str:
    lines = []
    for one in found:
        taken = "-" if one.picture.captured is None else one.picture.captured.isoformat(sep=" ", timespec="minutes")
        similarities = " ".join(f"{face.similarity:.3f}" for face in one.faces)
        lines.append(f"{similarities}  {taken:<16}  {path_of(one, people)}")
    return "\n".join(lines)


def _as_paths(found: Sequence[FoundPicture], people: PeopleDocument) -> str:
    return "\n".join(path_of(one, people) for one in found)


def _as_json(found: Sequence[FoundPicture], people: PeopleDocument) -> str:
    pictures = [_document(one, people) for one in found]
    return json.dumps({"count": len(pictures), "pictures": pictures}, ensure_ascii=False, indent=2)


def _document(one: FoundPicture, people: PeopleDocument) -> dict[str, Any]:
    return {
        "path": path_of(one, people),
        "sha256": one.picture.sha256,
        "captured": None if one.picture.captured is None else one.picture.captured.isoformat(),
        "copies": [str(Path(people.root) / copy) for copy in one.picture.copies],
        "duplicates": [str(Path(people.root) / other.path) for other in one.duplicates],
        "faces": [
            {
                "person": face.person,
                "similarity": round(face.similarity, 4),
                "id": face.face.face_id,
                "box": [round(float(value), 2) for value in face.face.box_xyxy],
                "quality": face.face.quality,
            }
            for face in one.faces
        ],
    }


def _as_csv(found: Sequence[FoundPicture], people: PeopleDocument) -> str:
    """Return a row for each face; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["path", "captured", "person", "similarity", "left", "top", "right", "bottom"])
    for one in found:
        captured = "" if one.picture.captured is None else one.picture.captured.isoformat()
        for face in one.faces:
            box = [round(float(value), 2) for value in face.face.box_xyxy]
            path, person = (spreadsheet_cell(text) for text in (path_of(one, people), face.person))
            writer.writerow([path, captured, person, f"{face.similarity:.4f}", *box])
    return buffer.getvalue().rstrip("\n")


def write_links(folder: files.PathLike, found: Sequence[FoundPicture], people: PeopleDocument, *, copies: bool) -> None:
    """Make a folder of links to the pictures that were found, or of copies, numbered in their order.

    Args:
        folder: new or empty, or one that an earlier call made, which is replaced as a whole.
        found: the pictures.
        people: where they lie.
        copies: copy them, for a stick or a system without links.

    Raises:
        ConfigError: other files are in the folder.
        DataError: it cannot be written.
    """
    target = Path(folder)
    if target.exists() and not _is_ours(target):
        raise ConfigError(f"--links {target}: holds other files; give a new or an empty folder")
    put = shutil.copy2 if copies else os.symlink
    try:
        with files.atomic_folder(target) as temporary:
            for number, one in enumerate(found, 1):
                source = Path(path_of(one, people)).absolute()
                put(source, temporary / f"{number:04d} {source.name}")
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "" if copies else "; --copies makes copies where there are no links"
        raise DataError(f"--links {target}: cannot be written: {reason}{hint}") from None


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and all(
        _OUR_NAME.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False) for entry in os.scandir(folder)
    )


def write_found_page(
    path: files.PathLike,
    found: Sequence[FoundPicture],
    people: PeopleDocument,
    *,
    title: str,
    progress: Callable[[Sequence[FoundPicture]], Iterable[FoundPicture]] = iter,
) -> list[str]:
    """Write a page of the pictures that were found, the faces framed; it carries small pictures and links to the files.

    Returns:
        A line for each picture that cannot be read.

    Raises:
        DataError: the page cannot be written.
    """
    figures, problems = [], []
    for one in progress(found[:MOST_ON_PAGE]):
        try:
            figures.append(_figure(one, people, Path(path)))
        except ImageError as error:
            problems.append(str(error))
    subtitle = f"{len(found)} {'picture' if len(found) == 1 else 'pictures'}"
    if len(found) > MOST_ON_PAGE:
        subtitle += f", the first {MOST_ON_PAGE} of them"
    try:
        html.write_page(path, title, [_STYLE, html.grid(figures) or html.paragraph("No picture.")], subtitle=subtitle)
    except OSError as error:
        raise DataError(f"{files.printable(path)}: cannot be written: {error.strerror or error}") from None
    return problems


_STYLE = html.Html(
    f"<style>.grid figure{{max-width:min(100%,{_SHOWN_PX}px)}}figcaption a{{overflow-wrap:anywhere}}</style>"
)


def _figure(one: FoundPicture, people: PeopleDocument, page: Path) -> html.Html:
    source = path_of(one, people)
    image = images.shrink(images.read_image(source, longest_side=_SHOWN_PX), longest_side=_SHOWN_PX)
    for face in one.faces:
        frame(image, face.face.box_xyxy * (image.shape[1] / one.picture.size_wh[0]))
    taken = "" if one.picture.captured is None else f" · {one.picture.captured:%Y-%m-%d %H:%M}"
    who = ", ".join(f"{face.person} {face.similarity:.2f}" for face in one.faces)
    address = urllib.parse.quote(os.path.relpath(Path(source).absolute(), page.absolute().parent).replace(os.sep, "/"))
    link = html.Html(f'<a href="{html.escape(address)}">{html.escape(one.picture.path)}</a>')
    return html.image(image, alt=f"{one.picture.path}: {who}", caption=html.join([link, taken, html.Html("<br>"), who]))


def frame(image: np.ndarray, box_xyxy: np.ndarray, *, width_px: int = 2) -> None:
    """Draw a frame into (H, W, 3) uint8 RGB."""
    height, width = image.shape[:2]
    left, right = (int(min(max(0, round(float(x))), width)) for x in (box_xyxy[0], box_xyxy[2]))
    top, bottom = (int(min(max(0, round(float(y))), height)) for y in (box_xyxy[1], box_xyxy[3]))
    inside = image[top:bottom, left:right]
    for edge in (inside[:width_px], inside[-width_px:], inside[:, :width_px], inside[:, -width_px:]):
        edge[...] = _FRAME_RGB
