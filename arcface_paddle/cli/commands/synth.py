"""Render a dataset of synthetic people: identity-labelled faces without anybody's photographs.

Every picture follows from the seed alone; the same settings give the same bytes with any number of workers. Besides
the dataset the folder gets metadata.jsonl (pose, light, landmarks, box, session of every picture) and, with
--val_identities, synthetic.bin: verification pairs of people who are not in the dataset.

  arcface-paddle synth synthetic_faces --identities 100 --images_per_identity 12 --val_identities 20 --workers 2
  python train.py --data_dir synthetic_faces --val_targets synthetic

Synthetic people are for learning, testing and bootstrapping. Accuracy on real faces is far below training on real
data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.progress import progress


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
    parser.add_argument("--contact_sheet", type=Path, help="file for a picture of the first people, a row each")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="complete what an interrupted run began")
    existing.add_argument("--overwrite", action="store_true", help="replace a synthetic dataset in that folder")


def run(args: argparse.Namespace) -> int:
    """Render, write, report."""
    # numba is loaded only here, so that --help stays fast and works without it.
    from arcface_paddle.synthetic.contact_sheet import write_contact_sheet
    from arcface_paddle.synthetic.layout import DatasetSettings
    from arcface_paddle.synthetic.writer import write_dataset

    settings = DatasetSettings(
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
    if args.contact_sheet is not None and args.contact_sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError(f"--contact_sheet {args.contact_sheet}: allowed are .png, .jpg and .webp")
    total = (settings.identities + settings.val_identities) * settings.images_per_identity
    existing = "resume" if args.resume else "overwrite" if args.overwrite else "refuse"
    try:
        with progress(total=total, unit="picture") as bar:
            report = write_dataset(args.output, settings, workers=args.workers, existing=existing, progress=bar.update)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{args.output}: cannot be written: {reason}; what is whole stays, go on with --resume"
        ) from None
    print(f"{report.root}: {report.pictures} pictures of {report.identities} people, format {settings.format}")
    if report.resumed_identities:
        print(f"resumed: {report.resumed_identities} people were whole, {report.rendered_identities} rendered")
    if report.val_pairs:
        print(f"{report.root / 'synthetic.bin'}: {report.val_pairs} pairs of {settings.val_identities} other people")
    if args.contact_sheet is not None:
        rows, columns = write_contact_sheet(args.contact_sheet, args.output, settings)
        print(f"{args.contact_sheet}: {rows} people, {columns} pictures of each")
    return 0
