"""Build an lfw-style verification set, from a list of pairs or by drawing pairs from a dataset.

arcface-paddle data pairs mine.bin --list pairs.txt --root aligned/
arcface-paddle data pairs mine.bin --list pairs.txt --root photographs/ --align
arcface-paddle data pairs mine.bin --dataset people/ --pairs 6000 --seed 0

A list has lines of path1<TAB>path2<TAB>1 (same person) or 0; spaces instead of tabs and LFW's own pairs.txt are read
too. A picture that is not there is found by its stem (a.png for a.jpg), so that a list of the photographs also fits
their aligned faces. Drawn pairs are half genuine, half impostor and alternate, so that each of the 10 folds is
balanced.

The pictures should be aligned as the training data is (see 'arcface-paddle data align'); their bytes are stored as they
are. With --align they are photographs, which are aligned first. A pair of which a photograph gives no face is left out
and named.

exit codes: 0 all pairs written; 1 some were left out (each is named); 2 wrong use or an error; 130 interrupted
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arcface_paddle.cli.align_flags import FACES_IN_WORDS, add_face_cutting, face_cutter
from arcface_paddle.cli.data_flags import add_source_flags, add_workers, open_source, progress_bar, report_bad
from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_file
from arcface_paddle.data.data_settings import IMAGE_SIZE
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.settings import CENTRE

_FLAGS_OF_LIST = ("root", "align")
_FLAGS_OF_DATASET = ("pairs", "seed", "label_file", "kind")
_FLAGS_OF_ALIGN = ("det_model", "rec_model", "det_thresh", "faces")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("target", help="the .bin to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--list", dest="pair_list", help="list of pairs")
    source.add_argument("--dataset", help="dataset to draw pairs from (folder per identity, label.txt, .rec, shards)")
    parser.add_argument("--root", help="folder that the paths of the list are relative to (default: the list's)")
    parser.add_argument("--pairs", type=int, default=6000, help="pairs to draw, even (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawing (%(default)s)")
    add_source_flags(parser)
    add_workers(parser)
    aligning = parser.add_argument_group("photographs")
    aligning.add_argument("--align", action="store_true", help="the list names photographs: align them first")
    add_face_cutting(aligning, default=CENTRE)
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Build and write the set."""
    from arcface_paddle import images
    from arcface_paddle.data.pairs import load_pairs, pairs_from_dataset, read_pair_list

    _refuse_flags_without_meaning(args)
    require_writable_file(args.target, option="target")
    if args.align:
        return _run_aligning(args)
    if args.pair_list:
        pictures, issame = load_pairs(read_pair_list(args.pair_list, root=args.root), workers=args.workers)
    else:
        pictures, issame = pairs_from_dataset(open_source(args), args.pairs, seed=args.seed, workers=args.workers)
    _write(args.target, pictures, issame)
    odd = sum(images.decode_crop(picture).shape[:2] != (IMAGE_SIZE, IMAGE_SIZE) for picture in pictures)
    if odd:
        size = f"{IMAGE_SIZE}x{IMAGE_SIZE}"
        print(f"{odd} of {len(pictures)} pictures are not {size} and will be resized; are they aligned (--align)?")
    return EXIT_OK


def _run_aligning(args: argparse.Namespace) -> int:
    from arcface_paddle.data.pair_alignment import align_pairs, fold_balance, photographs_of
    from arcface_paddle.data.pairs import read_pair_list

    pairs = read_pair_list(args.pair_list, root=args.root)
    photographs = photographs_of(pairs)
    faces = args.faces or CENTRE
    cutter = face_cutter(args, faces=faces)
    with progress_bar(len(photographs), "photographs") as bar:
        aligned = align_pairs(pairs, cutter, workers=args.workers, progress=bar.update)
    _write(args.target, aligned.pictures, aligned.issame)
    if aligned.several:
        print(f"{aligned.several} photographs show several faces; {FACES_IN_WORDS[faces]} was taken of each")
    if aligned.left_out:
        fewest_same, most_same, fewest_other, most_other = fold_balance(aligned.issame)
        print(
            f"{len(aligned.left_out)} of {len(pairs)} pairs were left out; each of the 10 folds has {fewest_same} to "
            f"{most_same} pairs of the same person and {fewest_other} to {most_other} of different ones"
        )
    return report_bad(aligned.left_out, Path(args.target).with_suffix(".left_out.log"))


def _write(target: str, pictures: list[bytes], issame: list[bool]) -> None:
    from arcface_paddle.data.verification_set import write_verification_set

    try:
        write_verification_set(target, pictures, issame)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}; nothing is left of it") from None
    print(f"{target}: {len(issame)} pairs, {sum(issame)} of the same person")


def _refuse_flags_without_meaning(args: argparse.Namespace) -> None:
    source, others = ("--list", _FLAGS_OF_DATASET) if args.pair_list else ("--dataset", _FLAGS_OF_LIST)
    _refuse(args, others, f"with {source}")
    if not args.align:
        _refuse(args, _FLAGS_OF_ALIGN, "without --align")


def _refuse(args: argparse.Namespace, names: tuple[str, ...], where: str) -> None:
    for name in names:
        if getattr(args, name) != args.default_of(name):
            raise ConfigError(f"--{name} has no meaning {where}; leave it out")
