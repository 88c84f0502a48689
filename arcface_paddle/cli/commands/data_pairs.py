"""Build an lfw-style verification set, from a list of pairs or by drawing pairs from a dataset.

arcface-paddle data pairs mine.bin --list pairs.txt --root pictures/
arcface-paddle data pairs mine.bin --dataset people/ --pairs 6000 --seed 0

A list has lines of path1<TAB>path2<TAB>1 (same person) or 0; spaces instead of tabs and LFW's own pairs.txt are read
too. Drawn pairs are half genuine, half impostor and alternate, so that each of the 10 folds is balanced. The pictures
should be aligned as the training data is (see 'arcface-paddle data align'); their bytes are stored as they are.
"""

from __future__ import annotations

import argparse

from arcface_paddle import images
from arcface_paddle.cli.data_flags import add_source_flags, add_workers, open_source
from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_file
from arcface_paddle.data.base import IMAGE_SIZE
from arcface_paddle.data.pairs import load_pairs, pairs_from_dataset, read_pair_list
from arcface_paddle.data.verification_set import write_verification_set
from arcface_paddle.errors import ConfigError, DataError

_FLAGS_OF_LIST = ("root",)
_FLAGS_OF_DATASET = ("pairs", "seed", "label_file", "kind")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("target", help="the .bin to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--list", dest="pair_list", help="list of pairs")
    source.add_argument("--dataset", help="dataset to draw pairs from (folder per identity, label.txt, .rec, shards)")
    parser.add_argument("--root", help="folder that the paths of the list are relative to (default: the list's)")
    parser.add_argument("--pairs", type=int, default=6000, help="pairs to draw, even (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing (%(default)s)")
    add_source_flags(parser)
    add_workers(parser)
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Build and write the set."""
    _refuse_flags_of_the_other_source(args)
    require_writable_file(args.target, option="target")
    if args.pair_list:
        pictures, issame = load_pairs(read_pair_list(args.pair_list, root=args.root), workers=args.workers)
    else:
        pictures, issame = pairs_from_dataset(open_source(args), args.pairs, seed=args.seed, workers=args.workers)
    try:
        write_verification_set(args.target, pictures, issame)
    except OSError as error:
        raise DataError(f"{args.target}: cannot be written: {error.strerror or error}; nothing is left of it") from None
    print(f"{args.target}: {len(issame)} pairs, {sum(issame)} of the same person")
    odd = sum(images.decode_crop(picture).shape[:2] != (IMAGE_SIZE, IMAGE_SIZE) for picture in pictures)
    if odd:
        size = f"{IMAGE_SIZE}x{IMAGE_SIZE}"
        print(f"{odd} of {len(pictures)} pictures are not {size} and will be resized; are they aligned (data align)?")
    return EXIT_OK


def _refuse_flags_of_the_other_source(args: argparse.Namespace) -> None:
    source, others = ("--list", _FLAGS_OF_DATASET) if args.pair_list else ("--dataset", _FLAGS_OF_LIST)
    for name in others:
        if getattr(args, name) != args.default_of(name):
            raise ConfigError(f"--{name} has no meaning with {source}; leave it out")
