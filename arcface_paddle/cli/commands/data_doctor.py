"""Examine a dataset of any kind; report as text, JSON and HTML with pictures; write a cleaned label file.

arcface-paddle data doctor MS1M_bin --val MS1M_bin/lfw.bin --html report.html --json report.json
arcface-paddle data doctor MS1M_bin --no_embedding --sample 100000
arcface-paddle data doctor people/ --fix people/label.clean.txt --copy_rejected aside/
arcface-paddle data doctor people/ --linkage average --affinity cosine --cluster_distance 0.7      (as facerec cleans)
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from arcface_paddle import files
from arcface_paddle.cli.data_flags import say_remarks
from arcface_paddle.cli.flags import add_engine_options, runtime_options
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.writable import require_writable_folder, require_writable_texts
from arcface_paddle.data.data_settings import IMAGE_SIZE
from arcface_paddle.data.data_settings import KINDS as DATASET_KINDS
from arcface_paddle.doctor.doctor_settings import AFFINITIES, LINKAGES, DoctorSettings
from arcface_paddle.doctor.findings import KINDS
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.settings import CROP_RECOGNIZER, PRESETS

if TYPE_CHECKING:  # what examines is imported where it is used, so that --help is quick
    from arcface_paddle.doctor import Report
    from arcface_paddle.doctor.crop_embeddings import EmbeddingCache
    from arcface_paddle.pipeline.recognition import Recognizer

_OPTIONS_OF_RECOGNISER = (
    "copy_rejected",
    "cache",
    "rec_model",
    "rec_preset",
    "engine",
    "device",
    "threads",
    "precision",
    "tensorrt",
    "use_gpu",
    "enable_mkldnn",
    "cpu_threads",
    "batch_size",
    "affinity",
    "linkage",
    "cluster_distance",
    "match_similarity",
    "merge_similarity",
)

EPILOG = """\
Broken images are listed, all of them; none stops the examination. No image is ever changed or deleted, and no label
file overwritten.

With --fix, the cleaned label file leaves out images that are missing or broken, exact duplicates (one copy stays: the
one most similar to its own identity), images of the verification sets and images apart from their identity's main
cluster, and numbers the labels anew; beside it, LABEL.map.tsv maps old labels to new ones and LABEL.removed.tsv lists
each image left out and why. What needs a decision stays in: near duplicates, black images, one person under two
labels. The cleaned dataset is the old one read with --label_file LABEL, by training and by 'data convert', which can
write it out; for RecordIO and packed shards LABEL lists the numbers of the samples.

With --copy_rejected, the images apart from their identity, and those of identities that fall into clusters of equal
weight, are copied to DIR/<label>/<cluster>_<number>.jpg, to be looked at.

Embedding takes most of the time: about 65 images per second on one core with the shipped recogniser, a million in
four hours. --no_embedding leaves it out, --sample N takes some identities only. With --cache DIR the embeddings stay
there: an examination that was interrupted goes on with them, and one with other thresholds need not embed again.

exit codes: 0 no problem found; 1 problems found (notes and kinds under --ignore do not count);
            2 wrong use, or the dataset cannot be opened; 130 interrupted

kinds of findings:
""" + "\n".join(f"  {kind.key:<24}{kind.title} ({kind.severity})" for kind in KINDS.values())


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``arcface-paddle data doctor``."""
    defaults = DoctorSettings()
    parser.epilog = EPILOG
    parser.add_argument("dataset", help="folder of the dataset, or a .rec file")
    parser.add_argument(
        "--label_file",
        metavar="FILE",
        help="default: label.txt in the folder; for RecordIO and shards: what --fix wrote",
    )
    parser.add_argument("--kind", choices=DATASET_KINDS, default="auto", help="layout (default: found out)")
    parser.add_argument("--num_classes", type=int, metavar="N", help="labels should be 0 to N-1 (default: as labelled)")
    parser.add_argument("--val", nargs="+", default=[], metavar="FILE", help="verification sets (.bin) to compare with")
    parser.add_argument("--sample", type=int, metavar="N", help="examine N images only: whole identities, at random")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the sample (%(default)s)")
    parser.add_argument("--workers", type=int, default=defaults.workers, help="decoding threads (%(default)s)")
    _add_output_options(parser.add_argument_group("results"))
    _add_recogniser_options(parser.add_argument_group("labels by embedding"), defaults)
    add_engine_options(parser)
    _add_limit_options(parser.add_argument_group("what counts"), defaults)
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Examine, report, and clean if asked; 1 when problems were found."""
    from arcface_paddle.data.kinds import open_dataset
    from arcface_paddle.data.verification_sources import open_verification_set
    from arcface_paddle.doctor import examine, report_text
    from arcface_paddle.doctor.fix import check_target

    _check_arguments(args)
    dataset = open_dataset(args.dataset, label_file=args.label_file, kind=args.kind, num_classes=args.num_classes)
    say_remarks(dataset)
    if args.fix is not None:
        check_target(args.fix)
    verification_sets = [open_verification_set(path) for path in args.val]
    recognizer = None if args.no_embedding else _open_recognizer(args)
    report = examine(
        dataset,
        _settings(args, recognizer),
        verification_sets=verification_sets,
        embedder=None if recognizer is None else recognizer.features,
        cache=None if recognizer is None else _cache_for(recognizer, args.cache),
    )
    print(report_text(report, rows_per_kind=args.rows))
    _write_results(report, args)
    return EXIT_PARTIAL if report.problems else EXIT_OK


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", metavar="FILE", help="write everything found as JSON")
    group.add_argument("--html", metavar="FILE", help="write a page with pictures, one file")
    group.add_argument("--rows", type=int, default=10, help="findings of a kind in the text (%(default)s)")
    group.add_argument("--pictures", type=int, default=24, help="findings of a kind on the page (%(default)s)")
    group.add_argument("--fix", metavar="LABEL", help="write a cleaned label file under this new name")
    group.add_argument("--copy_rejected", metavar="DIR", help="copy images apart from their identity to DIR/label/")


def _add_recogniser_options(group: argparse._ArgumentGroup, defaults: DoctorSettings) -> None:
    group.add_argument("--no_embedding", action="store_true", help="do not doubt labels; many times faster")
    group.add_argument("--cache", metavar="DIR", help="keep the embeddings there, to go on with them the next time")
    group.add_argument("--rec_model", default=CROP_RECOGNIZER, help="recogniser: name or folder (%(default)s)")
    group.add_argument("--rec_preset", choices=PRESETS, help="preprocessing of a model folder without a card")
    group.add_argument("--batch_size", type=int, default=defaults.embed_batch, help="images per run (%(default)s)")
    group.add_argument(
        "--affinity", choices=AFFINITIES, default=defaults.affinity, help="distance of two images (%(default)s)"
    )
    group.add_argument(
        "--linkage",
        choices=LINKAGES,
        default=defaults.linkage,
        help="distance of two clusters: mean, largest or smallest of their images' (%(default)s)",
    )
    group.add_argument(
        "--cluster_distance",
        type=float,
        help=f"distance at which images of an identity part (cosine, which is 1 - similarity: "
        f"{defaults.cluster_distance}; euclidean: {_as_euclidean(defaults.cluster_distance):.3f}, the same angle)",
    )
    group.add_argument(
        "--match_similarity",
        type=float,
        help="cosine from which an image may belong to an identity (default: the identification threshold of the "
        f"model's card, or {defaults.match_similarity})",
    )
    group.add_argument(
        "--merge_similarity",
        type=float,
        default=defaults.merge_similarity,
        help="cosine from which two identities are one person (%(default)s)",
    )


def _add_limit_options(group: argparse._ArgumentGroup, defaults: DoctorSettings) -> None:
    group.add_argument("--image_size", type=int, default=defaults.image_size, help="expected side (%(default)s)")
    group.add_argument(
        "--near_radius", type=int, default=defaults.near_radius, help="bits of 64 in which hashes differ (%(default)s)"
    )
    group.add_argument(
        "--near_correlation",
        type=float,
        default=defaults.near_correlation,
        help="correlation of near duplicates (%(default)s)",
    )
    group.add_argument(
        "--ignore", nargs="+", default=[], metavar="KIND", choices=tuple(KINDS), help="kinds that are no problem"
    )


def _check_arguments(args: argparse.Namespace) -> None:
    """Refuse wrong use before anything is read. Raises ``ConfigError``."""
    for option in ("rows", "pictures"):
        if getattr(args, option) < 1:
            raise ConfigError(f"--{option} is {getattr(args, option)}; allowed: 1 or more")
    if args.no_embedding:
        for option in _OPTIONS_OF_RECOGNISER:
            if getattr(args, option) != args.default_of(option):
                raise ConfigError(f"--{option} needs the recogniser; leave out --no_embedding")
    if args.pictures != args.default_of("pictures") and args.html is None:
        raise ConfigError("--pictures is about the page; add --html FILE")
    if args.fix is not None and args.sample is not None:
        raise ConfigError("--fix needs an examination of the whole dataset; leave out --sample")
    require_writable_texts({f"--{option}": getattr(args, option) for option in ("json", "html", "fix")})
    require_writable_folder(args.copy_rejected, option="--copy_rejected")
    require_writable_folder(args.cache, option="--cache")


def _as_euclidean(cosine_distance: float) -> float:
    """Return the distance of two normalised embeddings of this cosine distance."""
    return math.sqrt(2.0 * cosine_distance)


def _cluster_distance(args: argparse.Namespace) -> float:
    if args.cluster_distance is not None:
        return float(args.cluster_distance)
    usual = DoctorSettings.cluster_distance
    return usual if args.affinity == "cosine" else _as_euclidean(usual)


def _settings(args: argparse.Namespace, recognizer: Optional[Recognizer]) -> DoctorSettings:
    match_similarity = args.match_similarity
    if match_similarity is None:
        spec = recognizer.card.recognizer if recognizer is not None else None
        calibration = spec.calibration if spec is not None else None
        match_similarity = DoctorSettings.match_similarity
        if spec is not None and calibration is not None:  # the doctor compares cosines
            match_similarity = spec.similarity.cosine_of(calibration.identification)
    return DoctorSettings(
        image_size=args.image_size,
        near_radius=args.near_radius,
        near_correlation=args.near_correlation,
        affinity=args.affinity,
        linkage=args.linkage,
        cluster_distance=_cluster_distance(args),
        match_similarity=match_similarity,
        merge_similarity=args.merge_similarity,
        sample=args.sample,
        seed=args.seed,
        workers=args.workers,
        embed_batch=args.batch_size,
        ignored=frozenset(args.ignore),
    )


def _open_recognizer(args: argparse.Namespace) -> Recognizer:
    from arcface_paddle.pipeline.builders import build_recognizer
    from arcface_paddle.pipeline.recognition import Recognizer

    recognizer = build_recognizer(
        args.rec_model, max_batch_size=args.batch_size, preset=args.rec_preset, options=runtime_options(args)
    )
    if not isinstance(recognizer, Recognizer):
        raise ConfigError(
            f"{args.rec_model}: cuts several crops a face out of a photograph; the doctor looks at crops of 112x112 "
            f"with one network: name the member that takes these ({CROP_RECOGNIZER})"
        )
    width, height = recognizer.card.input.size_wh
    if (width, height) != (IMAGE_SIZE, IMAGE_SIZE):
        raise ConfigError(f"{args.rec_model}: takes crops of {width}x{height}; the doctor works with 112x112")
    return recognizer


def _cache_for(recognizer: Recognizer, folder: Optional[str]) -> Optional[EmbeddingCache]:
    from arcface_paddle.doctor.crop_embeddings import EmbeddingCache

    if folder is None:
        return None
    model = (recognizer.weights_sha256, recognizer.preprocessing_sha256, str(recognizer.mirrored))
    return EmbeddingCache(Path(folder), " ".join(model))


def _write_results(report: Report, args: argparse.Namespace) -> None:
    from arcface_paddle.doctor import copy_rejected, report_document, write_report_page

    try:
        if args.json is not None:
            files.write_json(args.json, report_document(report))
            print(f"wrote {args.json}")
        if args.html is not None:
            write_report_page(report, args.html, findings_per_kind=args.pictures)
            print(f"wrote {args.html}")
        if args.copy_rejected is not None:
            print(f"copied {copy_rejected(report, args.copy_rejected):,} images to look at to {args.copy_rejected}")
        if args.fix is not None:
            _clean(report, args.fix)
    except OSError as error:
        raise DataError(f"{error.filename or 'results'}: cannot be written: {error.strerror or error}") from None


def _clean(report: Report, target: str) -> None:
    from arcface_paddle.doctor import write_cleaned

    result = write_cleaned(report, target)
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in result.removed.items()) or "none"
    print(f"wrote {result.label_file}: {result.kept:,} images of {result.identities:,} identities")
    print(f"left out (see {result.removed_file}): {left_out}")
    print(f"labels are numbered anew (see {result.map_file}); read the dataset with --label_file {result.label_file}")
