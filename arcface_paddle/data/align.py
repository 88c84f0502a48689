"""Turning photographs into a dataset of aligned faces, exactly as the recogniser aligns them when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.data_settings import ALIGN_CHOICES
from arcface_paddle.data.face_names import FaceNames, face_names, is_complete
from arcface_paddle.data.file_dataset import FolderDataset, ImageFileDataset
from arcface_paddle.data.label_file import PathTable, complaint_about_path, write_label_file
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.data.writing import dataset_in, place_file
from arcface_paddle.errors import ConfigError, DataError, ImageError
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.alignment import align_face
from arcface_paddle.pipeline.builders import build_detector
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.choosing import pick
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.file_names import FileFinder
from arcface_paddle.pipeline.gallery.pictures import list_from_label_file
from arcface_paddle.pipeline.inputs import find_pictures
from arcface_paddle.pipeline.settings import AUTO, ONE

# ---------------------------------------------------------------------------------------------------------------
# One photograph


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """The face of a photograph.

    Attributes:
        crop: (H, W, 3) uint8 RGB of the recogniser's input size.
        face_count: faces that the photograph shows, this one included.
    """

    crop: np.ndarray
    face_count: int


@dataclass(frozen=True)
class FaceCutter:
    """Finds the face that is meant in a photograph and brings it to the recogniser's template.

    Attributes:
        detector: finds the faces.
        card: the card of the recogniser whose template is used.
        faces: which one is taken, one of ``ALIGN_CHOICES``.
    """

    detector: Detector
    card: ModelCard
    faces: str

    def cut(self, image: np.ndarray) -> AlignedFace:
        """Cut the face out of (H, W, 3) uint8 RGB; may be called from several threads.

        Raises:
            ImageError: no face, with ``one`` more than one, or a face that cannot be aligned; the message does not
                name the photograph.
        """
        found = self.detector.detect(image)
        boxes = np.array([detection.box_xyxy for detection in found], dtype=np.float64).reshape(-1, 4)
        chosen = pick(boxes, (image.shape[1], image.shape[0]), self.faces)
        if not chosen:
            raise ImageError(f"{len(found)} faces found" if found else "no face found")
        return AlignedFace(align_face(image, found[chosen[0]], self.card), len(found))


def open_face_cutter(
    detector: Union[str, files.PathLike],
    recognizer: Union[str, files.PathLike],
    *,
    det_thresh: Optional[float] = None,
    min_face: Optional[int] = None,
    rotate: str = AUTO,
    faces: str = ONE,
) -> FaceCutter:
    """Load a detector and the template of a recogniser, whose network itself is not needed.

    Args:
        detector: name or folder of the detector.
        recognizer: name or folder of the recogniser.
        det_thresh: least detection score, 0 to 1; None takes the card's.
        min_face: pixels that a face's longer side has at least; see ``builders.build_detector``.
        rotate: degrees clockwise by which the photographs must be turned to stand upright, or ``"auto"``.
        faces: one of ``ALIGN_CHOICES``.

    Raises:
        ConfigError: another choice, or a threshold out of range.
        ModelFileError: a model is missing or damaged.
    """
    if faces not in ALIGN_CHOICES:
        raise ConfigError(f"faces {faces!r}; allowed: {', '.join(ALIGN_CHOICES)}")
    card = model_files.open_model(recognizer, task=cards.RECOGNITION).card
    found = build_detector(detector, threshold=det_thresh, min_face=min_face, rotate=rotate)
    return FaceCutter(found, card, faces)


# ---------------------------------------------------------------------------------------------------------------
# The photographs of people


@dataclass(frozen=True, eq=False)
class Photographs:
    """Photographs of people, to be aligned.

    Attributes:
        dataset: the photographs, with the number of the person as label.
        people: the name of each label.
        bad: what a list names in vain, and photographs that belong to nobody: where, and why.
        not_looked_at: a sentence about the files that are no photographs, "" if there are none.
    """

    dataset: ImageFileDataset
    people: list[str]
    bad: tuple[tuple[str, str], ...] = ()
    not_looked_at: str = ""

    def __len__(self) -> int:
        return len(self.dataset)


def list_photographs(source: files.PathLike, *, label_file: Optional[files.PathLike] = None) -> Photographs:
    """List the photographs of a folder.

    Args:
        source: the folder.
        label_file: lines of path<TAB>name, the paths relative to ``source``; None takes one folder per person.

    Raises:
        DataError: no photograph that can be used, or no such folder.
        GalleryError: the list is missing or empty.
    """
    if label_file is None:
        return _photographs_of_folders(source)
    listed, rejected = list_from_label_file(label_file, image_folder=source)
    bad = [(rejection.source, rejection.detail) for rejection in rejected]
    finder = FileFinder(source)
    paths: list[str] = []
    names: list[str] = []
    for picture in listed:
        path = _below(source, finder.find(picture.listed_as))
        if path is None:
            bad.append((picture.listed_as, "lies outside of the source"))
        else:
            paths.append(path)
            names.append(picture.name)
    if not paths:
        raise DataError(f"{label_file}: lists no photograph that can be used; the first line, {': '.join(bad[0])}")
    people = sorted(set(names))
    number_of = {name: number for number, name in enumerate(people)}
    labels = np.array([number_of[name] for name in names], dtype=np.int64)
    return Photographs(ImageFileDataset(source, PathTable.from_paths(paths), labels), people, tuple(bad))


def _photographs_of_folders(source: files.PathLike) -> Photographs:
    """List one folder per person; what is a photograph is told by its content, as everywhere in the pipeline."""
    if not Path(source).is_dir():
        raise DataError(f"{source}: {'is a file; a folder is expected' if Path(source).exists() else 'no such folder'}")
    listing = find_pictures([source])
    paths = [found.relative.as_posix() for found in listing.pictures]
    folders = FolderDataset(source, pictures=paths)
    detail = "stands beside the folders of persons, so it has no name; put it into one, or list it (--label)"
    bad = tuple((path, detail) for path in paths if "/" not in path)
    return Photographs(folders, folders.class_names, bad, listing.sentence())


def _below(source: files.PathLike, found: Path) -> Optional[str]:
    """Return the path of a photograph relative to the source; None outside, where its face would leave the target."""
    try:
        inside = found.relative_to(source)
    except ValueError:
        return None
    # A backslash may be a step upwards for Windows, to which the dataset may be copied.
    return None if ".." in inside.as_posix().replace("\\", "/").split("/") else inside.as_posix()


# ---------------------------------------------------------------------------------------------------------------
# All of them


@dataclass(frozen=True)
class AlignReport:
    """What aligning photographs did.

    Attributes:
        faces: faces in the dataset.
        people: people in it.
        several: photographs that showed several faces, of which one was chosen; those of earlier runs not counted.
        renamed: see ``FaceNames``.
        bad: photographs left out: path and reason.
    """

    faces: int
    people: int
    several: int
    renamed: tuple[tuple[str, str, str], ...]
    bad: tuple[tuple[str, str], ...]


def align_photographs(
    photographs: Photographs,
    target: files.PathLike,
    cutter: FaceCutter,
    *,
    workers: int = 2,
    progress: Callable[[int], Any] = lambda count: None,
) -> AlignReport:
    """Write the face of each photograph as PNG, a ``label.txt``, and ``people.txt`` with the name of each label.

    Labels are given anew, without people who have no face left. Faces that an earlier run has written are kept, and
    their photographs are not looked at again.

    Args:
        photographs: see ``list_photographs``.
        target: the folder to write to.
        cutter: see ``open_face_cutter``.
        workers: threads.
        progress: called with the number of photographs done since the last call.

    Raises:
        DataError: none of the photographs gave a face, or the disk is full.
    """
    dataset = photographs.dataset
    names = face_names([dataset.paths[index] for index in range(len(dataset))], target)
    writer = _FaceWriter(dataset, names, Path(target), cutter)
    lines: list[tuple[str, int]] = []
    bad, several = list(photographs.bad), 0
    with dataset_in(target):
        for index, outcome in enumerate(ordered_map(writer.write, range(len(dataset)), workers=workers)):
            progress(1)
            if outcome.reason:
                bad.append((dataset.path_of(index), outcome.reason))
            else:
                lines.append((names.of[index], int(dataset.labels[index])))
                several += outcome.face_count > 1
        if not lines:
            path, reason = bad[0]
            raise DataError(
                f"{dataset.name}: none of the {len(dataset)} photographs gave a face; the first, {path}: {reason}"
            )
        people = _write_labels(Path(target), lines, photographs.people)
    return AlignReport(len(lines), people, several, names.renamed, tuple(bad))


@dataclass(frozen=True)
class _Outcome:
    """Why a photograph gave no face ("" if it gave one), and how many faces it shows (0 if nobody looked)."""

    reason: str
    face_count: int = 0


@dataclass(frozen=True)
class _FaceWriter:
    """Turns photograph ``index`` into a face picture in the target."""

    dataset: ImageFileDataset
    names: FaceNames
    target: Path
    cutter: FaceCutter

    def write(self, index: int) -> _Outcome:
        name = self.names.of[index]
        complaint = complaint_about_path(name)
        if complaint:
            return _Outcome(f"its name {complaint}")
        is_there = is_complete(self.target / name)
        if is_there and name not in self.names.doubtful:
            return _Outcome("")
        try:
            photograph = images.decode_image(self.dataset.read_encoded(index), name=self.dataset.path_of(index))
            face = self.cutter.cut(photograph)
            if is_there:
                self._require_same(self.target / name, face)
            else:
                place_file(self.target / name, images.encode_image(face.crop, suffix=".png"))
        except (DataError, ImageError) as error:
            return _Outcome(str(error))
        return _Outcome("", face.face_count)

    def _require_same(self, path: Path, face: AlignedFace) -> None:
        # By pixels: another version of the PNG writer may compress the same face to other bytes.
        if not np.array_equal(images.read_image(path), face.crop):
            raise DataError(
                f"{path}: holds another face than this photograph's and is left alone; rename the photograph, or "
                "choose an empty folder"
            )


def _write_labels(target: Path, lines: list[tuple[str, int]], people: list[str]) -> int:
    """Write ``label.txt`` and ``people.txt``; return the number of people."""
    kept = sorted({label for _, label in lines})
    number_of = {label: number for number, label in enumerate(kept)}
    write_label_file(target / "label.txt", ((name, number_of[label]) for name, label in lines))
    files.write_text(target / "people.txt", "".join(f"{number_of[label]}\t{people[label]}\n" for label in kept))
    return len(kept)
