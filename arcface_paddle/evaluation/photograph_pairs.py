"""Pairs for a calibration from photographs, through the very pipeline that will use the thresholds.

Every recogniser can be calibrated so, whatever its crops: fusions, whose members look at crops of their own, and
networks of another size or template than the common 112x112.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.evaluation.calibration import all_pairs
from arcface_paddle.evaluation.card_calibration import MeasuredSet
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.encoding import EncodedPicture, encode_pictures
from arcface_paddle.pipeline.inputs import find_pictures
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.pipeline.settings import CENTRE
from arcface_paddle.progress import progress


def measure_photographs(
    workers: PictureWorkers[Analyzer],
    folder: str,
    *,
    faces: str = CENTRE,
    complain: Callable[[str], None] = lambda problem: None,
    shown: bool = False,
) -> MeasuredSet:
    """Compare all pairs of faces of a folder of photographs.

    Args:
        workers: find, align and embed faces.
        folder: holds one folder of photographs per person.
        faces: which of several faces in a photograph is its person's.
        complain: called with a sentence about each photograph that gives no face.
        shown: show the progress, see ``arcface_paddle.progress``.

    Returns:
        The cosines of all pairs.

    Raises:
        DataError: no such folder, or fewer than two people.
        ImageError: it holds no pictures.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder; --photographs takes one with a folder of photographs per person")
    listing = find_pictures([folder])
    listing.require_pictures()
    encoded: list[EncodedPicture] = []
    pictures = progress(listing.pictures, desc=Path(folder).name, unit="picture", leave=False, shown=shown)
    for picture in encode_pictures(workers, pictures, faces=faces):
        if picture.problem:
            complain(picture.problem)
        elif not picture.person:
            complain(f"{picture.source}: stands beside the folders of persons; it is left out")
        else:
            encoded.append(picture)
    return _all_pairs_of(encoded, folder)


def _all_pairs_of(encoded: Sequence[EncodedPicture], folder: str) -> MeasuredSet:
    people, labels = np.unique([picture.person for picture in encoded], return_inverse=True)
    if len(people) < 2:
        raise DataError(f"{folder}: shows faces of {len(people)} people; at least two folders of persons are needed")
    embeddings = np.stack([require_embedding(picture.faces[0]) for picture in encoded]).astype(np.float64)
    described = f"{len(encoded)} photographs of {len(people)} people in {Path(folder).resolve().name}"
    return MeasuredSet(all_pairs(embeddings, labels.astype(np.int64)), described)
