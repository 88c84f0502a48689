"""Build, look at and change galleries of known people.

  arcface-paddle gallery build people.index --img_dir=people            one folder per person, or Name.jpg for each
  arcface-paddle gallery add people.index --img_dir=more --label=more/label.txt
  arcface-paddle gallery list people.index --pictures --json people.json
  arcface-paddle gallery remove people.index "Joe Biden"
  arcface-paddle gallery rename people.index "J. Biden" "Joe Biden"
  arcface-paddle gallery merge all.index people.index others.index
  arcface-paddle gallery import people.index published_index.bin        or galleries in HDF5 or Parquet
  arcface-paddle gallery export people.index people.h5 --format h5
  arcface-paddle gallery check people.index                             mixed-up pictures, one person under two names,
                                                                     people who look alike
  arcface-paddle gallery convert people.index faiss:people              into another engine, and check the copy
  arcface-paddle gallery export milvus://localhost:19530/people backup.index    or --format index
  arcface-paddle gallery key people.key                                 make a key to encrypt gallery files with
  arcface-paddle gallery rekey people.index                             encrypt a gallery file, or exchange its key

A gallery is a file, or is kept by an engine: faiss:FOLDER (millions of faces on one machine; ?form=int8 for exact
search, ?form=hnsw for a graph), milvus://HOST:19530/COLLECTION (a server or cluster),
postgresql://USER:PASSWORD@HOST/DATABASE (with pgvector).

Gallery files are encrypted (AES-256-GCM) where ARCFACE_PADDLE_GALLERY_KEY_FILE names a file of keys or
ARCFACE_PADDLE_GALLERY_KEY holds one; every command and the service then read and write them so. Of several keys the
first encrypts and all decrypt: to exchange one, 'gallery key' puts a new one first, 'gallery rekey' every gallery, then
remove the old line.

Every change is written atomically; the old file stays when something goes wrong. Two commands that change one gallery
at the same time wait for each other. A published index.bin, .h5 or .parquet is read but never
changed: import it first.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence

from arcface_paddle.cli import flags, gallery_flags, writable
from arcface_paddle.cli.console import write_json_result
from arcface_paddle.cli.gallery_flags import shown
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.tables import text_table
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import DEFAULT_RECOGNIZER, ThresholdSettings

if TYPE_CHECKING:  # what recognises is imported where it is used, so that --help is quick
    from arcface_paddle.pipeline.cards import ModelCard
    from arcface_paddle.pipeline.gallery import Gallery, Suspicion

GALLERY_SUFFIX = ".index"

EPILOG = """exit codes:
  0    done; for check: nothing suspicious
  1    done, but some pictures or lines were not added (each is reported); for check: something suspicious was found
  2    wrong options, or an error: the gallery is as it was
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="subcommands", required=True, metavar="SUBCOMMAND")
    _configure_making(commands)
    _configure_editing(commands)
    listing = _subcommand(commands, "list", list_people, "show who is in a gallery and what made it")
    listing.add_argument("--pictures", action="store_true", help="one line per picture instead of per person")
    listing.add_argument("--json", metavar="FILE", help="write the same as JSON")
    checking = _subcommand(commands, "check", check, "report pictures that look mislabelled, people listed twice")
    checking.add_argument(
        "--threshold", type=float, help="least similarity of one person (default: the model's card, FAR 1e-2)"
    )
    checking.add_argument(
        "--rec_model", help=f"whose card to ask (default: the one that made the gallery, else {DEFAULT_RECOGNIZER})"
    )
    checking.add_argument("--json", metavar="FILE", help="write the suspicions as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    return int(args.action(args))


def build(args: argparse.Namespace) -> int:
    """Build a gallery from pictures."""
    gallery_flags.check_arguments(args, target=args.gallery, option="gallery build")
    report = gallery_flags.build(args, target=args.gallery)
    print(f"{shown(args.gallery)}: {report['faces']} faces of {report['people']} people")
    return _finish(args, report)


def add(args: argparse.Namespace) -> int:
    """Add pictures to a gallery."""
    from arcface_paddle.pipeline.gallery.editing import contract_of
    from arcface_paddle.pipeline.gallery.enrolment import extend_gallery

    gallery_flags.check_arguments(args, target=args.gallery, option="gallery add")
    made_by = contract_of(args.gallery)
    people = gallery_flags.listed_people(args)
    pipeline, workers = gallery_flags.open_building_pipeline(args, pictures=len(people.pictures), extended=made_by)
    report = extend_gallery(
        args.gallery,
        people,
        pipeline=pipeline,
        faces=gallery_flags.faces_wanted(args),
        progress=gallery_flags.shown_progress,
        on_rejection=gallery_flags.say_rejected,
        workers=workers,
    )
    gallery_flags.say_rest(report)
    print(f"{shown(args.gallery)}: {report.added} faces added; now {report.faces} of {report.people} people")
    return _finish(args, report.to_dict())


def remove(args: argparse.Namespace) -> int:
    """Remove a person, or the faces of one picture."""
    from arcface_paddle.pipeline.gallery import remove_person, remove_picture

    change = (remove_picture if args.picture else remove_person)(args.gallery, args.name)
    print(f"{shown(args.gallery)}: {change.changed} faces removed; now {change.faces} of {change.people} people")
    return EXIT_OK


def rename(args: argparse.Namespace) -> int:
    """Give a person another name."""
    from arcface_paddle.pipeline.gallery import rename_person

    change = rename_person(args.gallery, args.name, args.new_name, join=args.join)
    print(f"{shown(args.gallery)}: {args.name} is now {args.new_name}; {change.faces} faces of {change.people} people")
    return EXIT_OK


def convert(args: argparse.Namespace) -> int:
    """Copy a gallery into another engine, and check the copy."""
    from arcface_paddle.pipeline.gallery.stores import convert_gallery, is_engine_uri

    gallery_flags.check_target(args.target, option="gallery convert")
    done = convert_gallery(args.gallery, args.target)
    if is_engine_uri(args.target):
        gallery_flags.say_unencrypted(args.gallery, args.target)
    print(
        f"{shown(args.target)}: {done.faces} faces of {done.people} people, as in "
        f"{shown(args.gallery)}; "
        f"{done.agreed} of {done.asked} faces asked for got the same answer from both"
    )
    return EXIT_OK


def make_key(args: argparse.Namespace) -> int:
    """Make a key for gallery files."""
    from arcface_paddle.pipeline.gallery import keys

    key = keys.make_key(args.file)
    print(
        f"{args.file}: key {key.id.hex()}; keep a copy where the galleries are not: without it nobody can read them. "
        f"Use it with {keys.FILE_VARIABLE}={args.file}"
    )
    return EXIT_OK


def rekey(args: argparse.Namespace) -> int:
    """Encrypt a gallery file with the first key that is given, or write it in plain text."""
    from arcface_paddle.pipeline.gallery.editing import decrypt_gallery, encrypt_gallery

    if args.plain:
        decrypt_gallery(args.gallery)
        print(f"{args.gallery}: is not encrypted any more")
    else:
        print(f"{args.gallery}: encrypted with the key {encrypt_gallery(args.gallery).id.hex()}")
    return EXIT_OK


def merge(args: argparse.Namespace) -> int:
    """Write the union of galleries."""
    from arcface_paddle.pipeline.gallery import Gallery, combine_galleries

    gallery_flags.check_target(args.gallery, option="gallery merge")
    merged = combine_galleries(args.gallery, args.sources, lambda galleries: reduce(Gallery.merged, galleries))
    print(f"{shown(args.gallery)}: {len(merged)} faces of {len(merged.names)} people")
    return EXIT_OK


def import_published(args: argparse.Namespace) -> int:
    """Turn a published index.bin, or galleries in HDF5 or Parquet, into a gallery file."""
    from arcface_paddle.pipeline.builders import build_recognizer
    from arcface_paddle.pipeline.gallery import Gallery, combine_galleries, identity_of
    from arcface_paddle.pipeline.gallery.parquet import MADE_BY, require_maker

    gallery_flags.check_target(args.gallery, option="gallery import")
    model = None
    if args.rec_model is not None:
        model = identity_of(build_recognizer(args.rec_model, mirrored=args.mirrored))

    def united(galleries: Sequence[Gallery]) -> Gallery:
        for source, gallery in zip(args.source, galleries):
            if model is not None:
                require_maker(str(gallery.parameters.get(MADE_BY, "")), model, name=source)
        gallery = reduce(Gallery.merged, galleries)
        return gallery.with_model(model) if model else gallery

    gallery = combine_galleries(args.gallery, args.source, united)
    bound = f", made with {gallery.model.name}" if gallery.model else "; which model made it is not known"
    print(f"{shown(args.gallery)}: {len(gallery)} faces of {len(gallery.names)} people{bound}")
    return EXIT_OK


def export(args: argparse.Namespace) -> int:
    """Write a gallery to a gallery file, or its embeddings for other programs."""
    from arcface_paddle.pipeline.embedding_files import check_suffix
    from arcface_paddle.pipeline.gallery.editing import export_gallery, write_gallery
    from arcface_paddle.pipeline.gallery.stores import is_engine_uri, load_gallery

    target = args.target
    if is_engine_uri(target):
        raise ConfigError(f"gallery export {shown(target)}: name a file; gallery convert writes to engines")
    suffix = f".{args.format}" if args.format else None
    as_gallery = (suffix or Path(target).suffix.lower()) == GALLERY_SUFFIX
    if not as_gallery:
        check_suffix(target, suffix=suffix)
    writable.require_writable_file(target, option="gallery export")
    gallery = load_gallery(args.gallery)
    if not as_gallery:
        gallery_flags.say_unencrypted(args.gallery, target)
    if as_gallery:
        write_gallery(target, gallery)
    else:
        export_gallery(target, gallery, suffix=suffix)
    print(f"{target}: {len(gallery)} faces of {len(gallery.names)} people")
    return EXIT_OK


def list_people(args: argparse.Namespace) -> int:
    """Show who is in a gallery."""
    from arcface_paddle.pipeline.gallery.stores import load_gallery

    gallery = load_gallery(args.gallery)
    if args.json:
        write_json_result(args.json, gallery.to_dict())
    model = gallery.model.name if gallery.model else "not known"
    print(f"model: {model}; embedding size: {gallery.embedding_size}; decision: {gallery.decision}")
    if args.pictures:
        rows = [[e.name, e.path, _shown(e.detection_score), e.created or "-"] for e in gallery.entries]
        print(text_table(["name", "picture", "detection", "added"], rows))
    else:
        print(text_table(["name", "faces"], list(gallery.faces_by_person().items())))
    print(f"{len(gallery)} faces of {len(gallery.names)} people")
    return EXIT_OK


def check(args: argparse.Namespace) -> int:
    """Report what looks wrong in a gallery."""
    from arcface_paddle.pipeline.cards import RECOGNITION
    from arcface_paddle.pipeline.gallery import find_suspicions
    from arcface_paddle.pipeline.gallery.stores import load_gallery
    from arcface_paddle.pipeline.model_files import find_card
    from arcface_paddle.pipeline.opening import recognizer_of

    gallery = load_gallery(args.gallery)
    card = find_card(args.rec_model or recognizer_of(gallery), task=RECOGNITION)
    suspicions = find_suspicions(
        gallery,
        threshold=_check_threshold(args, card),
        naming_threshold=_naming_threshold(args, card, gallery),
    )
    if args.json:
        write_json_result(args.json, {"suspicions": [asdict(item) for item in suspicions]})
    if not suspicions:
        print(f"{len(gallery)} faces of {len(gallery.names)} people: nothing suspicious")
        return EXIT_OK
    print(
        text_table(
            ["kind", "name", "picture", "own", "resembles", "its picture", "similarity"],
            [_row(item) for item in suspicions],
        )
    )
    print(f"{len(suspicions)} of {len(gallery)} faces deserve a look")
    return EXIT_PARTIAL


def _configure_making(commands: Any) -> None:
    for name, action, text in (
        ("build", build, "build a gallery from pictures"),
        ("add", add, "add pictures to a gallery"),
    ):
        parser = _subcommand(commands, name, action, text)
        gallery_flags.add_picture_options(parser)
        parser.add_argument(
            "--exclude",
            action="append",
            metavar="PATTERN",
            help="leave out files and folders of --img_dir whose name or path matches, such as '*_small.jpg'",
        )
        if name == "build":
            gallery_flags.add_decision_option(parser)
        parser.add_argument("--det", action="store_true", help="find the face in every picture (the default)")
        parser.add_argument(
            "--rec", action="store_true", help="without --det: a picture is one face, aligned crop or portrait"
        )
        parser.add_argument("--json", metavar="FILE", help="write the report as JSON")
        flags.add_workers_option(parser)
        flags.add_model_options(parser)
    importing = _subcommand(
        commands, "import", import_published, "turn a published index.bin, or galleries in HDF5 or Parquet, into one"
    )
    importing.add_argument("source", nargs="+", help="published index.bin (it is never unpickled blindly), .h5 of "
                           "{person: {embedding}}, or .parquet as 'encode' writes it; several of one model are "
                           "united")  # fmt: skip
    importing.add_argument("--rec_model", help="the recogniser that made it, if you know: name or folder")
    flags.add_bool(importing, "--mirrored", "--flip", default=False, help="it was made with the mirrored average")
    exporting = _subcommand(commands, "export", export, "write a gallery to a file, or its embeddings for others")
    exporting.add_argument("target", help="file to write")
    exporting.add_argument(
        "--format",
        choices=("index", "h5", "npz", "parquet"),
        help="index: a gallery file, such as a backup; h5: {person: {embedding, embeddings, sources}}, embedding being "
        "the mean of the person (default: as the suffix of the file says)",
    )
    merging = _subcommand(commands, "merge", merge, "write the union of galleries of one model")
    merging.add_argument("sources", nargs="+", help="galleries to unite")


def _configure_editing(commands: Any) -> None:
    removing = _subcommand(commands, "remove", remove, "remove a person, or the faces of one picture")
    removing.add_argument("name", help="person, or with --picture the picture as 'gallery list --pictures' shows it")
    removing.add_argument("--picture", action="store_true", help="remove the faces of a picture, not a person")
    converting = _subcommand(commands, "convert", convert, "copy a gallery into another engine, and check the copy")
    converting.add_argument("target", help="where to: a file, faiss:FOLDER, milvus://..., postgresql://...")
    renaming = _subcommand(commands, "rename", rename, "give a person another name")
    renaming.add_argument("name")
    renaming.add_argument("new_name")
    key_making = commands.add_parser(
        "key", help="make a key to encrypt gallery files with", description="make a key to encrypt gallery files with."
    )
    key_making.add_argument("file", help="where to; of a file of keys, the new one becomes the first")
    key_making.set_defaults(action=make_key)
    rekeying = _subcommand(commands, "rekey", rekey, "encrypt a gallery file with the first of the keys")
    rekeying.add_argument("--plain", action="store_true", help="write it so that everybody who has it can read it")
    renaming.add_argument("--join", action="store_true", help="the new name exists already: make the two one person")


def _subcommand(commands: Any, name: str, action: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text}.")
    parser.add_argument("gallery", help="gallery file, or faiss:FOLDER, milvus://..., postgresql://...")
    parser.set_defaults(action=action)
    return parser


def _finish(args: argparse.Namespace, report: dict[str, Any]) -> int:
    if args.json:
        write_json_result(args.json, report)
    return EXIT_PARTIAL if report["rejected"] else EXIT_OK


def _check_threshold(args: argparse.Namespace, card: ModelCard) -> float:
    """Return from which similarity on two pictures count as one person; far more lenient than a search."""
    from arcface_paddle.pipeline.thresholds import choose_threshold

    if args.threshold is not None:
        return float(args.threshold)
    return choose_threshold(card, ThresholdSettings(far="1e-2"))


def _naming_threshold(args: argparse.Namespace, card: ModelCard, gallery: Gallery) -> Optional[float]:
    """Return from which similarity on a search gives a name; None for a model that was never calibrated."""
    from arcface_paddle.pipeline.thresholds import search_threshold

    if args.threshold is not None:
        return float(args.threshold)
    if card.recognizer is None or card.recognizer.calibration is None:
        return None
    return search_threshold(card, ThresholdSettings(), comparisons=gallery.comparisons).similarity


def _row(item: Suspicion) -> list[Any]:
    return [
        item.kind, item.entry.name, item.entry.path, _shown(item.own_similarity), item.other.name, item.other.path,
        _shown(item.other_similarity),
    ]  # fmt: skip


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
