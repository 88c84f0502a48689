"""Turn photographs into a dataset of aligned 112x112 faces: detect, align, write, label.

arcface-paddle data align photographs/ faces/

The source has one folder per person with photographs inside; so has the target, with PNG pictures (lossless) of the
same names and a label.txt. A photograph with no face or with several is named and left out; --largest takes the
largest face of several. The faces are aligned exactly as the recogniser aligns them when it runs. Faces that an
earlier run has written are kept, and their photographs are not looked at again.

exit codes: 0 every photograph gave a face; 1 some did not (each is named); 2 wrong use or an error; 130 interrupted
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from arcface_paddle import images
from arcface_paddle.cli.data_options import add_workers, progress_bar, refuse_target_in_source, report_bad
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.data.file_dataset import FolderDataset
from arcface_paddle.data.label_file import complaint_about_path, write_label_file
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.data.writing import disk_errors_as_data_errors, place_file
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.alignment import align_face
from arcface_paddle.pipeline.building import DEFAULT_DETECTOR, DEFAULT_RECOGNIZER, build_detector
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.detection.base import Detector


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", help="folder with one folder of photographs per person")
    parser.add_argument("target", help="folder to write to")
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
    photographs = FolderDataset(args.source)
    refuse_target_in_source(photographs, args.target)
    aligner = Aligner(
        photographs,
        Path(args.target),
        build_detector(args.det_model, threshold=args.det_thresh),
        model_files.open_model(args.rec_model, task=cards.RECOGNITION).card,
        args.largest,
    )
    lines: list[tuple[str, int]] = []
    bad: list[tuple[str, str]] = []
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
        write_label_file(Path(args.target) / "label.txt", _contiguous(lines))
    print(f"{args.target}: {len(lines)} faces of {len({label for _, label in lines})} people, {len(bad)} left out")
    return report_bad(bad, args.target)


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

    photographs: FolderDataset
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


def _contiguous(lines: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Number the people anew, without those of whom no face is left."""
    numbers = {label: number for number, label in enumerate(sorted({label for _, label in lines}))}
    return ((name, numbers[label]) for name, label in lines)
