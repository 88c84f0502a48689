"""Reading the public metadata layout of IJB-B and IJB-C; see ``ijb`` for what lies where."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.evaluation.ijb import IjbSet, SubjectTemplates
from arcface_paddle.files import PathLike
from arcface_paddle.untrusted import integer

_GALLERY_NAMES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}
_NUMBERS_PER_PICTURE = 11  # five points and the detector's score
_LARGEST = np.iinfo(np.int64).max


def read_ijb(folder: PathLike) -> IjbSet:
    """Read the metadata of IJB-B or IJB-C; the pictures are only named.

    Args:
        folder: the one that holds ``meta`` and ``loose_crop``.

    Raises:
        DataError: not such a folder, a file that is missing or damaged, or lists that do not fit each other.
    """
    meta = Path(folder) / "meta"
    prefix = _prefix(meta)
    names, templates, media = _read_media(meta / f"{prefix}_face_tid_mid.txt")
    pictures, landmarks, scores = _read_landmarks(meta / f"{prefix}_name_5pts_score.txt")
    if names != pictures:
        line = next((i for i, (a, b) in enumerate(zip(names, pictures), 1) if a != b), min(len(names), len(pictures)))
        raise DataError(
            f"{meta}: {prefix}_face_tid_mid.txt ({len(names)} lines) and {prefix}_name_5pts_score.txt "
            f"({len(pictures)} lines) name different pictures from line {line} on"
        )
    pairs = _read_integers(meta / f"{prefix}_template_pair_label.txt", columns=3)
    return IjbSet(
        name=prefix.upper(),
        folder=str(Path(folder) / "loose_crop"),
        pictures=pictures,
        landmarks=landmarks,
        detector_scores=scores,
        templates=templates,
        media=media,
        pairs=pairs[:, :2],
        issame=_labels(pairs[:, 2], meta / f"{prefix}_template_pair_label.txt"),
        galleries=_read_galleries(meta, prefix),
        probes=_read_subjects(meta / f"{prefix}_1N_probe_mixed.csv"),
    )


def _prefix(meta: Path) -> str:
    for prefix in _GALLERY_NAMES:
        if (meta / f"{prefix}_face_tid_mid.txt").is_file():
            return prefix
    raise DataError(
        f"{meta}: neither ijbb_face_tid_mid.txt nor ijbc_face_tid_mid.txt; "
        "expected the folder that holds meta/ and loose_crop/ of IJB-B or IJB-C"
    )


def _read_content(path: Path) -> str:
    """Return the text without the white space at its end; ``\\r\\n`` has become ``\\n``."""
    try:
        content = files.read_bytes(path).decode("utf-8").replace("\r\n", "\n").rstrip()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
    if not content:
        raise DataError(f"{path}: the file is empty")
    return content


def _read_lines(path: Path) -> list[str]:
    return _read_content(path).split("\n")


def _read_media(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    names, numbers = [], []
    for number, line in enumerate(_read_lines(path), 1):
        fields = line.split()
        row = [integer(field) for field in fields[1:]]
        if len(row) != 2 or None in row:
            raise DataError(f"{path} line {number}: {line!r:.80}; expected: picture template media")
        names.append(fields[0])
        numbers.append(row)
    templates, media = np.array(numbers, dtype=np.int64).T
    return names, templates, media


def _read_landmarks(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    names, rows = [], []
    for number, line in enumerate(_read_lines(path), 1):
        name, *fields = line.split() or [""]
        try:
            row = [float(field) for field in fields]
        except ValueError:
            row = []
        if len(row) != _NUMBERS_PER_PICTURE or not np.isfinite(row).all():
            raise DataError(f"{path} line {number}: {line!r:.80}; expected: picture, five x y, score")
        names.append(name)
        rows.append(row)
    values = np.array(rows, dtype=np.float32)
    return names, values[:, :10].reshape(-1, 5, 2), values[:, 10]


def _read_integers(path: Path, *, columns: int) -> np.ndarray:
    """Read lines of integers. The pair list of IJB-C has 15.7 million, so the good case is one conversion."""
    content = _read_content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # older numpy warns of text that is no number
            values = np.fromstring(content, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        values = np.zeros(0, dtype=np.int64)
    is_clipped = values.size and values.max() == _LARGEST  # which NumPy makes of larger ones
    if values.size == columns * (content.count("\n") + 1) and not is_clipped:
        return values.reshape(-1, columns)
    for number, line in enumerate(content.split("\n"), 1):
        fields = line.split()
        if len(fields) != columns or None in map(integer, fields):
            raise DataError(f"{path} line {number}: {line!r:.80}; expected {columns} integers")
    raise DataError(f"{path}: integers with other signs between them than spaces and tabs")


def _labels(values: np.ndarray, path: Path) -> np.ndarray:
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        line = int(np.argmax(wrong))
        raise DataError(f"{path} line {line + 1}: label {int(values[line])}; allowed: 0, 1")
    return values == 1


def _read_galleries(meta: Path, prefix: str) -> dict[str, SubjectTemplates]:
    galleries = {}
    for name in _GALLERY_NAMES[prefix]:
        gallery = _read_subjects(meta / f"{prefix}_1N_gallery_{name}.csv")
        if gallery is not None:
            galleries[name] = gallery
    return galleries


def _read_rows(path: Path) -> list[list[str]]:
    try:
        return list(csv.reader(_read_lines(path)))
    except csv.Error as error:
        raise DataError(f"{path}: not a table of comma-separated values: {error}") from None


def _read_subjects(path: Path) -> Optional[SubjectTemplates]:
    """Read template and subject, the first two columns below the header; None when there is no such file."""
    if not path.is_file():
        return None
    subject_of: dict[int, int] = {}
    for number, row in enumerate(_read_rows(path), 1):
        if number == 1:
            continue
        template, subject = (integer(field) for field in [*row[:2], "", ""][:2])
        if template is None or subject is None:
            raise DataError(f"{path} line {number}: {','.join(row)!r:.80}; expected: template,subject,...")
        if subject_of.setdefault(template, subject) != subject:
            raise DataError(
                f"{path} line {number}: template {template} is of subject {subject}, "
                f"further up of {subject_of[template]}"
            )
    if not subject_of:
        raise DataError(f"{path}: no line below the header")
    templates = np.array(sorted(subject_of), dtype=np.int64)
    return SubjectTemplates(templates, np.array([subject_of[template] for template in templates], dtype=np.int64))
