"""Test recognisers at searching: who is it, and is it anybody of the gallery at all?

    arcface-paddle identify --data_dir people/ --model MobileFace --report report/
    arcface-paddle identify --data_dir MS1M_bin --model run_a --model run_b --gallery_images 2 --stranger_share 0.5
    arcface-paddle identify --ijb IJBC --model exported/ --setting N1D1F1 --setting N0D0F1

A labelled set (one folder per person, label.txt, .rec, packed) of ALIGNED crops is parted by --seed into a gallery and
probes; the people of --stranger_share stay out of the gallery. --ijb takes the folder with meta/ and loose_crop/ of
IJB-B or IJB-C, whose faces are aligned by their published landmarks, and prints 1:1 and 1:N by the template protocol:
F1 adds the mirrored picture, N1 keeps the norm of a feature as its weight, D1 weighs with the detector's score.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from arcface_paddle.cli.console import complain
from arcface_paddle.cli.evaluation_flags import (
    MODEL_KINDS,
    add_engine_flags,
    add_mirrored_flag,
    add_output_flags,
    check_before_work,
    embedder_settings,
    publish,
)
from arcface_paddle.cli.tables import text_table
from arcface_paddle.evaluation.choices import POOLINGS

if TYPE_CHECKING:  # what evaluates is imported where it is used, so that --help is quick
    from arcface_paddle.evaluation.embedder import Embedder
    from arcface_paddle.evaluation.ranks import Ranks


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data_dir", help="labelled set of aligned crops")
    data.add_argument("--ijb", metavar="DIR", help="folder with meta/ and loose_crop/ of IJB-B or IJB-C")
    model = parser.add_argument_group("models")
    model.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="WHAT",
        help=f"repeatable: {MODEL_KINDS} (MobileFace)",
    )
    model.add_argument("--network", help="network of .pdparams files (default: by the file's name)")
    add_engine_flags(model)
    split = parser.add_argument_group("gallery and probes of --data_dir")
    split.add_argument("--label_file", help="of the set (default: label.txt in it)")
    split.add_argument("--gallery_images", type=int, default=1, help="pictures per person in the gallery (1)")
    split.add_argument("--stranger_share", type=float, default=0.3, help="share of people outside of the gallery (0.3)")
    split.add_argument("--pooling", choices=POOLINGS, default="mean", help="person = mean of or best picture (mean)")
    split.add_argument("--seed", type=int, default=0, help="of the split (0)")
    add_mirrored_flag(parser, split)
    ijb = parser.add_argument_group("protocol of --ijb")
    ijb.add_argument(
        "--setting", action="append", default=[], metavar="N1D1F1", help="repeatable; 'all' for the eight (N1D1F1)"
    )
    output = add_output_flags(parser)
    output.add_argument("--batch_size", type=int, default=64, help="crops per call of the network (64)")


def run(args: argparse.Namespace) -> int:
    """Evaluate every model."""
    from arcface_paddle.evaluation.ranks import joined_ranks

    check_before_work(args)
    with joined_ranks(args.device) as ranks:
        if args.ijb:
            _run_ijb(args, ranks)
        else:
            _run_dataset(args, ranks)
    return 0


def _run_dataset(args: argparse.Namespace, ranks: Optional[Ranks]) -> None:
    from arcface_paddle.data import open_dataset
    from arcface_paddle.evaluation.embedding import EmbeddingSettings
    from arcface_paddle.evaluation.identification import SplitSettings
    from arcface_paddle.evaluation.identification_report import (
        identification_report_document,
        identification_rows,
        write_identification_report,
    )
    from arcface_paddle.evaluation.identification_run import identify_people
    from arcface_paddle.evaluation.ranks import is_main

    dataset = open_dataset(args.data_dir, label_file=args.label_file)
    split = SplitSettings(args.gallery_images, args.stranger_share, args.seed)
    settings = EmbeddingSettings(args.batch_size, mirror=args.mirrored, progress=is_main(ranks))
    entries, resized = [], 0
    for embedder in _embedders(args):
        entries.append(
            identify_people(embedder, dataset, split=split, settings=settings, pooling=args.pooling, ranks=ranks)
        )
        resized = resized or dataset.resized_count  # every model reads the same pictures
    if not is_main(ranks):
        return
    if resized:
        complain(f"{resized} pictures were not 112x112 and were resized; photographs must be aligned first")
    print(text_table(*identification_rows([(entry.model, entry.result) for entry in entries]), keys=2))
    title = f"Identification on {Path(args.data_dir).name}"
    publish(
        args,
        identification_report_document(entries),
        lambda folder: write_identification_report(folder, entries, title=title),
    )


def _run_ijb(args: argparse.Namespace, ranks: Optional[Ranks]) -> None:
    from arcface_paddle.evaluation.identification_report import (
        identification_rows,
        search_entries,
        template_report_document,
        template_rows,
        write_template_report,
    )
    from arcface_paddle.evaluation.ijb import settings_by_name
    from arcface_paddle.evaluation.ijb_files import read_ijb
    from arcface_paddle.evaluation.ijb_run import evaluate_ijb
    from arcface_paddle.evaluation.ranks import is_main

    protocols = settings_by_name(args.setting or ["N1D1F1"])
    ijb = read_ijb(args.ijb)
    entries = [
        evaluate_ijb(
            embedder, ijb, protocols=protocols, batch_size=args.batch_size, progress=is_main(ranks), ranks=ranks
        )
        for embedder in _embedders(args)
    ]
    if not is_main(ranks):
        return
    print(text_table(*template_rows(entries), keys=2))
    if any(entry.searches for entry in entries):
        print(text_table(*identification_rows(search_entries(entries)), keys=2))
    else:
        complain(f"{ijb.name}: no 1:N gallery and probe lists in {Path(args.ijb) / 'meta'}")
    publish(
        args,
        template_report_document(entries),
        lambda folder: write_template_report(folder, entries, title=f"{ijb.name}: templates"),
    )


def _embedders(args: argparse.Namespace) -> list[Embedder]:
    from arcface_paddle.evaluation.model_opening import open_embedders

    return open_embedders(args.model or ["MobileFace"], settings=embedder_settings(args, network=args.network))
