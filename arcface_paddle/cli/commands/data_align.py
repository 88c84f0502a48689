"""Turn photographs into a dataset of aligned 112x112 faces: detect, align, write, label.

arcface-paddle data align photographs/ faces/
arcface-paddle data align photographs/ faces/ --label photographs/names.txt

The source has one folder per person with photographs inside, or any photographs and a list of lines path<TAB>name
(--label). The target gets PNG pictures (lossless) at the same places and with the same stems (a/b.jpg becomes a/b.png),
a label.txt, and people.txt with the name of each label. A photograph with no face is named and left out. Of one with
several faces, a list (--label) means the face in the middle, weighted by its size; a folder per person may hold
anything, so there the photograph is named and left out, unless --faces says which face to take. The faces are aligned
exactly as the recogniser aligns them when it runs. What is a photograph is told by its content; other files are counted
and said, and folders of systems (#recycle, @eaDir) are not searched. Faces that an earlier run has written are kept,
and their photographs are not looked at again.

exit codes: 0 every photograph gave a face; 1 some did not (each is named); 2 wrong use or an error; 130 interrupted
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arcface_paddle.cli.align_flags import FACES_IN_WORDS, add_face_cutting, face_cutter
from arcface_paddle.cli.data_flags import LEFT_OUT, add_workers, progress_bar, report_bad
from arcface_paddle.cli.flags import published_group
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.pipeline.settings import CENTRE, LARGEST, ONE

_LISTED = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("source", help="folder with one folder of photographs per person, or see --label")
    parser.add_argument("target", help="folder to write to")
    parser.add_argument(
        "--label",
        metavar="FILE",
        help="list of lines path<TAB>name, paths relative to the source (default: the folders are the people)",
    )
    add_face_cutting(parser, default="one; with --label centre")
    add_workers(parser)
    published_group(parser).add_argument(
        "--largest", dest="faces", action="store_const", const=LARGEST, help="= --faces largest"
    )


def run(args: argparse.Namespace) -> int:
    """Align and report."""
    from arcface_paddle.data.align import align_photographs, list_photographs
    from arcface_paddle.data.writing import refuse_target_in_source

    require_writable_folder(args.target, option="target")
    photographs = list_photographs(args.source, label_file=args.label)
    refuse_target_in_source(photographs.dataset, args.target)
    faces = args.faces or (ONE if args.label is None else CENTRE)
    cutter = face_cutter(args, faces=faces)
    with progress_bar(len(photographs), "photographs") as bar:
        report = align_photographs(photographs, args.target, cutter, workers=args.workers, progress=bar.update)
    print(f"{args.target}: {report.faces} faces of {report.people} people, {len(report.bad)} left out")
    if photographs.not_looked_at:
        print(photographs.not_looked_at)
    if report.several:
        print(f"{report.several} photographs show several faces; {FACES_IN_WORDS[faces]} was taken of each")
    for photograph, face, other in report.renamed[:_LISTED]:
        print(f"the face of {photograph} is {face}, because {other} has the same stem")
    if len(report.renamed) > _LISTED:
        print(f"{len(report.renamed) - _LISTED} more photographs share their stems with others")
    return report_bad(report.bad, Path(args.target) / LEFT_OUT)
