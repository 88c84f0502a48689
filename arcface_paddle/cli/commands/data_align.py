"""Turn photographs into a dataset of aligned 112x112 faces: detect, align, write, label.

arcface-paddle data align photographs/ faces/
arcface-paddle data align photographs/ faces/ --label photographs/names.txt

The source has one folder per person with photographs inside, or any photographs and a list of lines path<TAB>name
(--label). The target gets PNG pictures (lossless) at the same places, a label.txt, and people.txt with the name of each
label. A photograph with no face or with several is named and left out; --largest takes the largest face of several. The
faces are aligned exactly as the recogniser aligns them when it runs. Faces that an earlier run has written are kept,
and their photographs are not looked at again.

exit codes: 0 every photograph gave a face; 1 some did not (each is named); 2 wrong use or an error; 130 interrupted
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.cli.data_flags import add_workers, progress_bar, report_bad
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.data.file_dataset import FolderDataset, ImageFileDataset
from arcface_paddle.data.label_file import PathTable, complaint_about_path, write_label_file
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.data.writing import disk_errors_as_data_errors, place_file, refuse_target_in_source
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.alignment import align_face
from arcface_paddle.pipeline.builders import DEFAULT_DETECTOR, DEFAULT_RECOGNIZER, build_detector
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.gallery.pictures import list_from_label_file


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", help="folder with one folder of photographs per person, or see --label")
    parser.add_argument("target", help="folder to write to")
    parser.add_argument(
        "--label",
        metavar="FILE",
        help="list of lines path<TAB>name, paths relative to the source (default: the folders are the people)",
    )
    parser.add_argument("--det_model", default=DEFAULT_DETECTOR, help="detector: name or folder (%(default)s)")
    parser.add_argument(
        "--rec_model",
        default=DEFAULT_RECOGNIZER,
        help="recogniser whose alignment is used: name or folder (%(default)s)",
    )
    parser.add_argument("--det_thresh", type=float, help="least detection score (default: the model's card)")
    parser.add_argument("--largest", action="store_true", help="of several faces take the largest")
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Align and report."""
    require_writable_folder(args.target, option="target")
    photographs, people, bad = _open_photographs(args)
    refuse_target_in_source(photographs, args.target)
    aligner = Aligner(
        photographs,
        Path(args.target),
        build_detector(args.det_model, threshold=args.det_thresh),
        model_files.open_model(args.rec_model, task=cards.RECOGNITION).card,
        args.largest,
    )
    lines: list[tuple[str, int]] = []
    with progress_bar(len(photographs), "photographs") as bar, disk_errors_as_data_errors(args.target):
        for index, (name, reason) in enumerate(aligner.align_all(args.workers)):
            bar.update(1)
            if reason:
                bad.append((photographs.path_of(index), reason))
            else:
                lines.append((name, int(photographs.labels[index])))
        if not lines:
            (path, reason), count = bad[0], len(photographs)
            raise DataError(f"{args.source}: none of the {count} photographs gave a face; the first, {path}: {reason}")
        kept = sorted({label for _, label in lines})
        number_of = {label: number for number, label in enumerate(kept)}  # anew, without those who have no face left
        write_label_file(Path(args.target) / "label.txt", ((name, number_of[label]) for name, label in lines))
        names = "".join(f"{number}\t{people[label]}\n" for number, label in enumerate(kept))
        files.write_text(Path(args.target) / "people.txt", names)
    print(f"{args.target}: {len(lines)} faces of {len(kept)} people, {len(bad)} left out")
    return report_bad(bad, args.target)


def _open_photographs(args: argparse.Namespace) -> tuple[ImageFileDataset, list[str], list[tuple[str, str]]]:
    """Return the photographs, the name of each label, and what the list names in vain: where, and why."""
    if args.label is None:
        folders = FolderDataset(args.source)
        return folders, folders.class_names, []
    listed, rejected = list_from_label_file(args.label, image_folder=args.source)
    bad = [(rejection.source, rejection.detail) for rejection in rejected]
    bad += [(picture.listed_as, "lies outside of the source") for picture in listed if not _is_below(picture.listed_as)]
    listed = [picture for picture in listed if _is_below(picture.listed_as)]
    people = sorted({picture.name for picture in listed})
    if not people:
        raise DataError(f"{args.label}: lists no photograph that can be used; the first line, {': '.join(bad[0])}")
    number_of = {name: number for number, name in enumerate(people)}
    labels = np.array([number_of[picture.name] for picture in listed], dtype=np.int64)
    paths = PathTable.from_paths(picture.listed_as for picture in listed)
    return ImageFileDataset(args.source, paths, labels), people, bad


def _is_below(path: str) -> bool:
    """Tell whether a listed path stays below the source, and so its face below the target."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


@dataclass(frozen=True)
class Aligner:
    """Everything that turns photograph ``index`` into a face picture.

    Attributes:
        photographs: the source.
        target: the folder to write to.
        detector: finds the faces.
        card: of the recogniser whose template is used.
        takes_largest: whether the largest of several faces is taken, rather than none.
    """

    photographs: ImageFileDataset
    target: Path
    detector: Detector
    card: ModelCard
    takes_largest: bool

    def align_all(self, workers: int) -> Iterator[tuple[str, str]]:
        """Give, for each photograph, the path of its face below the target, or why there is none."""
        return ordered_map(self.align, range(len(self.photographs)), workers=workers)

    def align(self, index: int) -> tuple[str, str]:
        """Align one photograph; return the path of its face below the target, or "" and the reason."""
        name = self.photographs.paths[index]
        # The suffix of the photograph stays in the name: a.jpg and a.png beside each other are two faces.
        stem, _, suffix = name.rpartition(".")
        target = f"{stem}.{suffix}.png" if suffix.lower() != "png" else name
        complaint = complaint_about_path(target)
        if complaint:
            return "", f"its name {complaint}"
        if _is_complete(self.target / target):
            return target, ""
        try:
            image = images.decode_image(self.photographs.read_encoded(index), name=self.photographs.path_of(index))
            faces = self.detector.detect(image)
            if len(faces) != 1 and not (faces and self.takes_largest):
                return "", f"{len(faces)} faces found" if faces else "no face found"
            crop = align_face(image, faces[0], self.card)
            place_file(self.target / target, images.encode_image(crop, suffix=".png"))
        except (DataError, ImageError) as error:
            return "", str(error)
        return target, ""


def _is_complete(path: Path) -> bool:
    # Files appear as a whole; an empty one is what a power cut can leave.
    return path.is_file() and path.stat().st_size > 0
