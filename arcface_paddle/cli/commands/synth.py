"""Render a dataset of synthetic people: identity-labelled faces without anybody's photographs.

Every picture follows from the seed alone; the same settings give the same bytes with any number of workers. Besides
the dataset the folder gets metadata.jsonl (pose, light, landmarks, box, session of every picture) and, with
--val_identities, synthetic.bin: verification pairs of people who are not in the dataset.

  arcface-paddle synth synthetic_faces --identities 100 --images_per_identity 12 --val_identities 20 --workers 2
  python train.py --data_dir synthetic_faces --val_targets synthetic

On several machines each renders a shard, and one of them makes the dataset of the shards, with the bytes of a single
run; --resume goes on with a shard or a merge that was interrupted:

  arcface-paddle synth shard1 --identities 100 --shard 1/2      (machine 1)
  arcface-paddle synth shard2 --identities 100 --shard 2/2      (machine 2)
  arcface-paddle synth synthetic_faces --merge shard1 shard2

On a disk that they share, all render into one folder with --shard I/N --resume, and --resume alone finishes it.

Synthetic people are for learning, testing and bootstrapping. Accuracy on real faces is far below training on real
data.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from arcface_paddle.cli.writable import require_writable_folder, require_writable_picture
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.progress import progress

if TYPE_CHECKING:
    from arcface_paddle.synthetic.layout import DatasetSettings
    from arcface_paddle.synthetic.writer import WriteReport

_SETTINGS = (
    *("identities", "images_per_identity", "seed", "format", "encoding", "size", "full_frame", "val_identities"),
    *("val_pairs", "sessions"),
)
"""Flags that say what the dataset is."""

_RECHECK = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("output", type=Path, help="folder of the dataset")
    parser.add_argument("--identities", type=int, default=100, help="people of the dataset (default %(default)s)")
    parser.add_argument(
        "--images_per_identity", type=int, default=12, help="pictures of each person (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the whole population (default %(default)s)")
    parser.add_argument(
        "--format", default="bin", help="data layout: bin, image, folder, recordio or packed (default %(default)s)"
    )
    parser.add_argument("--encoding", default="jpg", help="encoding of the pictures: jpg or png (default %(default)s)")
    parser.add_argument("--size", type=int, default=None, help="pixels per side (default 112, full frames 320)")
    parser.add_argument("--full_frame", action="store_true", help="whole pictures instead of aligned crops")
    parser.add_argument(
        "--val_identities", type=int, default=0, help="people held out for synthetic.bin (default %(default)s)"
    )
    parser.add_argument("--val_pairs", type=int, default=600, help="pairs of synthetic.bin (default %(default)s)")
    parser.add_argument(
        "--sessions", type=int, default=3, help="days of each person: hair, clothes, glasses (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that render (default %(default)s)")
    parser.add_argument("--shard", metavar="I/N", help="render only the I-th of N equal parts of the people")
    parser.add_argument(
        "--merge",
        nargs="+",
        type=Path,
        metavar="SHARD",
        help="make the dataset of these shards, render nothing",
    )
    parser.add_argument(
        "--recheck",
        type=int,
        help="with --merge: pictures of each shard that are rendered again, to see that all machines compute alike "
        "(default 2; 0 = none)",
    )
    parser.add_argument("--contact_sheet", type=Path, help="file for a picture of the first people, a row each")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="complete what an interrupted run began")
    existing.add_argument("--overwrite", action="store_true", help="replace a synthetic dataset in that folder")
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Render, write, report."""
    if args.contact_sheet is not None and args.contact_sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError(f"--contact_sheet {args.contact_sheet}: allowed are .png, .jpg and .webp")
    _refuse_contradictions(args)
    require_writable_folder(str(args.output), option="output")
    require_writable_picture(args.contact_sheet and str(args.contact_sheet), option="--contact_sheet")
    try:
        if args.merge is not None:
            return _merge(args)
        return _render(args) if args.shard is None else _render_shard(args)
    except OSError as error:
        if error.errno is None:  # not from the system, but of a library that cannot be loaded, as in too little memory
            raise
        raise DataError(
            f"{args.output}: cannot be written: {error.strerror}; what is whole stays, go on with --resume"
        ) from None


def _refuse_contradictions(args: argparse.Namespace) -> None:
    if args.merge is None:
        if args.recheck is not None:
            raise ConfigError("--recheck is about the shards of --merge; leave it out")
    else:
        given = [name for name in (*_SETTINGS, "shard", "workers") if getattr(args, name) != args.default_of(name)]
        if given:
            raise ConfigError(f"--{given[0]} has no meaning with --merge: the shards say it; leave it out")
    if args.shard is not None and args.contact_sheet is not None:
        raise ConfigError("--contact_sheet shows a finished dataset, which a shard is not; leave it out")


def _settings(args: argparse.Namespace) -> DatasetSettings:
    from arcface_paddle.synthetic.layout import DatasetSettings

    return DatasetSettings(
        identities=args.identities,
        images_per_identity=args.images_per_identity,
        seed=args.seed,
        format=args.format,
        size=args.size if args.size is not None else (320 if args.full_frame else 112),
        full_frame=args.full_frame,
        val_identities=args.val_identities,
        val_pairs=args.val_pairs,
        encoding=args.encoding,
        sessions_per_identity=args.sessions,
    )


def _render(args: argparse.Namespace) -> int:
    # numba is loaded only here, so that --help stays fast and works without it.
    from arcface_paddle.synthetic.writer import write_dataset

    settings = _settings(args)
    with progress(total=settings.people * settings.images_per_identity, unit="picture") as bar:
        report = write_dataset(
            args.output, settings, workers=args.workers, existing=_existing(args), progress=bar.update
        )
    resumed = f"resumed: {report.resumed_identities} people were whole, {report.rendered_identities} rendered"
    _say_dataset(report, settings, remark=resumed if report.resumed_identities else "")
    _draw_sheet(args, settings)
    return 0


def _render_shard(args: argparse.Namespace) -> int:
    from arcface_paddle.synthetic.shards import parse_shard
    from arcface_paddle.synthetic.writer import write_shard

    settings, shard = _settings(args), parse_shard(args.shard)
    people = len(shard.people(settings.people))
    with progress(total=people * settings.images_per_identity, unit="picture") as bar:
        report = write_shard(
            args.output, settings, shard, workers=args.workers, existing=_existing(args), progress=bar.update
        )
    print(
        f"{report.root}: shard {shard}, {people} of {settings.people} people, {report.rendered_identities} rendered, "
        f"{people - report.rendered_identities} were whole"
    )
    print("when all shards are there: arcface-paddle synth DATASET --merge SHARD SHARD ...")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from arcface_paddle.synthetic.shards import common_settings
    from arcface_paddle.synthetic.writer import merge_dataset

    settings = common_settings(args.merge)
    recheck = _RECHECK if args.recheck is None else args.recheck
    with progress(total=settings.people * settings.images_per_identity, unit="picture") as bar:
        report = merge_dataset(args.output, args.merge, existing=_existing(args), recheck=recheck, progress=bar.update)
    checked = f"; {recheck} pictures of each rendered again, equal" if recheck else ""
    merged = f"merged: {report.rendered_identities} people from {len(args.merge)} shards{checked}"
    _say_dataset(report, settings, remark=merged)
    _draw_sheet(args, settings)
    return 0


def _existing(args: argparse.Namespace) -> str:
    return "resume" if args.resume else "overwrite" if args.overwrite else "refuse"


def _say_dataset(report: WriteReport, settings: DatasetSettings, *, remark: str) -> None:
    print(f"{report.root}: {report.pictures} pictures of {report.identities} people, format {settings.format}")
    if remark:
        print(remark)
    if report.val_pairs:
        print(f"{report.root / 'synthetic.bin'}: {report.val_pairs} pairs of {settings.val_identities} other people")


def _draw_sheet(args: argparse.Namespace, settings: DatasetSettings) -> None:
    from arcface_paddle.synthetic.contact_sheet import write_contact_sheet

    if args.contact_sheet is not None:
        rows, columns = write_contact_sheet(args.contact_sheet, args.output, settings)
        print(f"{args.contact_sheet}: {rows} people, {columns} pictures of each")
