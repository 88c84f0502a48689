"""Tell whether synthetic people are near real ones of a given set; report as text, JSON and HTML with pictures.

arcface-paddle data leaks synthetic_faces MS1M_bin --html leaks.html --json leaks.json --cache embeddings/
arcface-paddle data leaks synthetic_faces people/ --fix synthetic_faces/label.clean.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from arcface_paddle import files
from arcface_paddle.cli.data_flags import add_workers, positive_int, say_remarks
from arcface_paddle.cli.flags import add_engine_options, runtime_options
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.writable import require_writable_folder, require_writable_texts
from arcface_paddle.data.data_settings import IMAGE_SIZE, KINDS
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.settings import CROP_RECOGNIZER, PRESETS

if TYPE_CHECKING:  # what examines is imported where it is used, so that --help is quick
    from arcface_paddle.data.dataset import FaceDataset
    from arcface_paddle.doctor.crop_embeddings import EmbeddingCache
    from arcface_paddle.doctor.leaks import LeakReport
    from arcface_paddle.pipeline.recognition import Recognizer

EPILOG = """\
Both sets are aligned crops of 112x112 in any layout, with a label for each person. Every synthetic person's mean
embedding meets every real person's, and every synthetic picture every real one, exactly. What counts as near follows
from how similar strangers are - measured between the real people themselves and, for pictures, read from the card of
the recogniser - and from the number of comparisons: a set without any leak has one reported at the rate --false_alarm.
Among very many comparisons strangers' pictures are as similar as copies; the report says so, and judges copies only.

--fix writes a label file of the synthetic set without these people, with labels numbered anew; beside it LABEL.map.tsv
(old and new labels) and LABEL.removed.tsv (each picture left out, and why). No picture is changed or deleted.

exit codes: 0 nobody is near a real person; 1 somebody is; 2 wrong use, or nothing to read; 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EPILOG
    parser.add_argument("synthetic", help="folder of the synthetic set")
    parser.add_argument("real", help="folder of the real set")
    parser.add_argument("--kind", choices=KINDS, default="auto", help="layout of the synthetic set (%(default)s)")
    parser.add_argument("--label_file", metavar="FILE", help="its label file (default: label.txt in the folder)")
    parser.add_argument("--real_kind", choices=KINDS, default="auto", help="layout of the real set (%(default)s)")
    parser.add_argument("--real_label_file", metavar="FILE", help="its label file (default: label.txt in the folder)")
    parser.add_argument(
        "--false_alarm", type=float, default=0.01, help="rate at which a clean set has a leak reported (%(default)s)"
    )
    parser.add_argument("--similarity", type=float, help="cosine that counts, instead of what follows from the rate")
    parser.add_argument(
        "--pictures_per_person",
        type=positive_int,
        metavar="N",
        help="compare N of each person (default: all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything found as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with pictures, one file")
    parser.add_argument("--pictures", type=positive_int, default=24, help="people of a kind on the page (%(default)s)")
    parser.add_argument("--fix", metavar="LABEL", help="write a label file without these people under this new name")
    parser.add_argument("--cache", metavar="DIR", help="keep the embeddings there, to go on with them the next time")
    parser.add_argument("--rec_model", default=CROP_RECOGNIZER, help="recogniser: name or folder (%(default)s)")
    parser.add_argument("--rec_preset", choices=PRESETS, help="preprocessing of a model folder without a card")
    parser.add_argument("--batch_size", type=positive_int, default=64, help="images per run (%(default)s)")
    add_workers(parser)
    add_engine_options(parser)
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Compare, report, and clean if asked; 1 when somebody is near a real person."""
    from arcface_paddle.doctor.fix import check_target
    from arcface_paddle.doctor.leak_report import leak_text
    from arcface_paddle.doctor.leaks import LeakSettings, check_leaks

    _check_arguments(args)
    settings = LeakSettings(
        false_alarm=args.false_alarm,
        similarity=args.similarity,
        pictures_per_person=args.pictures_per_person,
        workers=args.workers,
        embed_batch=args.batch_size,
    )
    if args.fix is not None:
        check_target(args.fix)
    synthetic = _open(args.synthetic, args.label_file, args.kind)
    real = _open(args.real, args.real_label_file, args.real_kind)
    recognizer = _open_recognizer(args)
    report = check_leaks(
        synthetic,
        real,
        settings,
        embedder=recognizer.features,
        card_tail=_card_tail(recognizer),
        cache=_cache_for(recognizer, args.cache),
    )
    print(leak_text(report))
    _write_results(report, args)
    return EXIT_PARTIAL if len(report.leaks) else EXIT_OK


def _check_arguments(args: argparse.Namespace) -> None:
    """Refuse wrong use before anything is read. Raises ``ConfigError``."""
    if args.pictures != args.default_of("pictures") and args.html is None:
        raise ConfigError("--pictures is about the page; add --html FILE")
    if args.similarity is not None and args.false_alarm != args.default_of("false_alarm"):
        raise ConfigError("--similarity and --false_alarm both say what counts; give one")
    if Path(args.synthetic).resolve() == Path(args.real).resolve():
        raise ConfigError(f"{args.synthetic}: given twice; a set is compared with another one")
    require_writable_texts({f"--{option}": getattr(args, option) for option in ("json", "html", "fix")})
    require_writable_folder(args.cache, option="--cache")


def _open(folder: str, label_file: Optional[str], kind: str) -> FaceDataset:
    from arcface_paddle.data.kinds import open_dataset

    dataset = open_dataset(folder, label_file=label_file, kind=kind)
    say_remarks(dataset)
    return dataset


def _open_recognizer(args: argparse.Namespace) -> Recognizer:
    from arcface_paddle.pipeline.builders import build_recognizer
    from arcface_paddle.pipeline.recognition import Recognizer

    recognizer = build_recognizer(
        args.rec_model, max_batch_size=args.batch_size, preset=args.rec_preset, options=runtime_options(args)
    )
    if not isinstance(recognizer, Recognizer) or recognizer.card.input.size_wh != (IMAGE_SIZE, IMAGE_SIZE):
        raise ConfigError(
            f"{args.rec_model}: does not take single crops of 112x112; name a recogniser that does ({CROP_RECOGNIZER})"
        )
    return recognizer


def _card_tail(recognizer: Recognizer) -> tuple[tuple[float, float], ...]:
    """Return the card's tail of strangers as cosines."""
    spec = recognizer.card.recognizer
    if spec is None or spec.calibration is None:
        return ()
    return tuple((rate, spec.similarity.cosine_of(similarity)) for rate, similarity in spec.calibration.tail)


def _cache_for(recognizer: Recognizer, folder: Optional[str]) -> Optional[EmbeddingCache]:
    from arcface_paddle.doctor.crop_embeddings import EmbeddingCache

    if folder is None:
        return None
    model = (recognizer.weights_sha256, recognizer.preprocessing_sha256, str(recognizer.mirrored))
    return EmbeddingCache(Path(folder), " ".join(model))


def _write_results(report: LeakReport, args: argparse.Namespace) -> None:
    from arcface_paddle.doctor.leak_report import leak_document, write_leak_page, write_without_leaks

    try:
        if args.json is not None:
            files.write_json(args.json, leak_document(report))
            print(f"wrote {args.json}")
        if args.html is not None:
            write_leak_page(report, args.html, shown=args.pictures)
            print(f"wrote {args.html}")
        if args.fix is not None:
            result = write_without_leaks(report, args.fix)
            print(f"wrote {result.label_file}: {result.kept:,} images of {result.identities:,} identities")
    except OSError as error:
        raise DataError(f"{error.filename or 'results'}: cannot be written: {error.strerror or error}") from None
