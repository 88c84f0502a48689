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
import itertools
import re
import sys
from pathlib import Path
from typing import Callable, Optional

import numpy as np
from prettytable import PrettyTable

from arcface_paddle import images
from arcface_paddle.cli.commands.valid import add_engine_flags, joined_ranks, publish
from arcface_paddle.cli.writable import require_writable_file, require_writable_folder
from arcface_paddle.data import open_dataset
from arcface_paddle.errors import ConfigError
from arcface_paddle.evaluation.embedder import Embedder
from arcface_paddle.evaluation.embedding import EmbeddingSettings, Features, embed_crops
from arcface_paddle.evaluation.identification import (
    POOLINGS,
    SplitSettings,
    identification_result,
    rank_probes,
    split_gallery_probes,
)
from arcface_paddle.evaluation.identification_report import (
    ModelIdentification,
    ModelTemplates,
    identification_report_document,
    identification_rows,
    search_entries,
    template_report_document,
    template_rows,
    write_identification_report,
    write_template_report,
)
from arcface_paddle.evaluation.ijb import (
    IjbSet,
    TemplateSettings,
    image_features,
    pool_templates,
    search_templates,
    verify_templates,
)
from arcface_paddle.evaluation.ijb_files import read_ijb
from arcface_paddle.evaluation.model_opening import EmbedderSettings, open_embedders
from arcface_paddle.evaluation.ranks import Ranks
from arcface_paddle.evaluation.verification import l2_normalized
from arcface_paddle.pipeline.alignment import estimate_similarity
from arcface_paddle.pipeline.model_files import preset_card
from arcface_paddle.pipeline.preprocessing import warp

_SETTING = re.compile(r"N([01])D([01])F([01])")
_ALL_SETTINGS = [f"N{n}D{d}F{f}" for n, d, f in itertools.product((1, 0), repeat=3)]


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
        help="repeatable: a run's folder, a .pdparams or .onnx file, an exported folder, a known model (MobileFace)",
    )
    model.add_argument("--network", help="network of .pdparams files (default: by the file's name)")
    add_engine_flags(model)
    split = parser.add_argument_group("gallery and probes of --data_dir")
    split.add_argument("--label_file", help="of the set (default: label.txt in it)")
    split.add_argument("--gallery_images", type=int, default=1, help="pictures per person in the gallery (1)")
    split.add_argument("--stranger_share", type=float, default=0.3, help="share of people outside of the gallery (0.3)")
    split.add_argument("--pooling", choices=POOLINGS, default="mean", help="person = mean of or best picture (mean)")
    split.add_argument("--seed", type=int, default=0, help="of the split (0)")
    split.add_argument("--no_flip", action="store_true", help="leave the mirrored pictures out")
    ijb = parser.add_argument_group("protocol of --ijb")
    ijb.add_argument(
        "--setting", action="append", default=[], metavar="N1D1F1", help="repeatable; 'all' for the eight (N1D1F1)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--batch_size", type=int, default=64, help="crops per call of the network (64)")
    output.add_argument("--report", metavar="DIR", help="write report.html, report.png and report.json there")
    output.add_argument("--json", metavar="FILE", help="write all figures to a file")


def run(args: argparse.Namespace) -> int:
    """Evaluate every model."""
    if args.batch_size < 1:
        raise ConfigError(f"--batch_size is {args.batch_size}; allowed: 1 or more")
    require_writable_folder(args.report, option="--report")
    require_writable_file(args.json, option="--json")
    with joined_ranks() as ranks:
        if args.ijb:
            _run_ijb(args, ranks)
        else:
            _run_dataset(args, ranks)
    return 0


def _run_dataset(args: argparse.Namespace, ranks: Optional[Ranks]) -> None:
    dataset = open_dataset(args.data_dir, label_file=args.label_file)
    split_settings = SplitSettings(args.gallery_images, args.stranger_share, args.seed)
    split = split_gallery_probes(dataset.labels, settings=split_settings)
    used = np.concatenate([split.gallery, split.probes])
    settings = EmbeddingSettings(args.batch_size, mirror=not args.no_flip, progress=_is_main(ranks))
    entries = []
    for embedder in _embedders(args):
        features = embed_crops(
            embedder.embed,
            lambda row: dataset.read_image(int(used[row])),
            len(used),
            name=dataset.name,
            settings=settings,
            ranks=ranks,
        )
        embeddings = l2_normalized(features.summed)
        gallery, probes = np.split(embeddings, [len(split.gallery)])
        labels = dataset.labels[split.gallery]
        ranking = rank_probes(probes, dataset.labels[split.probes], gallery, labels, pooling=args.pooling)
        result = identification_result(ranking, name=Path(args.data_dir).name, people=len(np.unique(labels)))
        entries.append(ModelIdentification(embedder.name, embedder.description, result))
    if not _is_main(ranks):
        return
    if dataset.resized_count:
        print(
            f"{dataset.resized_count} pictures were not 112x112 and were resized; photographs must be aligned first",
            file=sys.stderr,
        )
    print(_table(*identification_rows([(entry.model, entry.result) for entry in entries])))
    title = f"Identification on {Path(args.data_dir).name}"
    publish(
        args,
        identification_report_document(entries),
        lambda: write_identification_report(args.report, entries, title=title),
    )


def _run_ijb(args: argparse.Namespace, ranks: Optional[Ranks]) -> None:
    settings = [_template_settings(text) for text in _setting_names(args.setting)]
    ijb = read_ijb(args.ijb)
    mirror = any(one.flip for one in settings)
    embedding_settings = EmbeddingSettings(args.batch_size, mirror=mirror, progress=_is_main(ranks))
    decode = _ijb_decoder(ijb)
    entries = []
    for embedder in _embedders(args):
        features = embed_crops(
            embedder.embed, decode, len(ijb.pictures), name=ijb.name, settings=embedding_settings, ranks=ranks
        )
        entries.append(_evaluate_templates(embedder, features, ijb, settings))
    if not _is_main(ranks):
        return
    print(_table(*template_rows(entries)))
    if any(entry.searches for entry in entries):
        print(_table(*identification_rows(search_entries(entries))))
    else:
        print(f"{ijb.name}: no 1:N gallery and probe lists in {Path(args.ijb) / 'meta'}", file=sys.stderr)
    publish(
        args,
        template_report_document(entries),
        lambda: write_template_report(args.report, entries, title=f"{ijb.name}: templates"),
    )


def _evaluate_templates(
    embedder: Embedder, features: Features, ijb: IjbSet, settings: list[TemplateSettings]
) -> ModelTemplates:
    verifications, searches = [], []
    for one in settings:
        weighted = image_features(features, ijb.detector_scores, settings=one)
        embeddings, numbers = pool_templates(weighted, ijb.templates, ijb.media)
        verifications.append(verify_templates(embeddings, numbers, ijb, settings=one))
        if ijb.probes is not None and ijb.galleries:
            searches.append(search_templates(embeddings, numbers, ijb, settings=one))
    return ModelTemplates(embedder.name, embedder.description, verifications, searches)


def _ijb_decoder(ijb: IjbSet) -> Callable[[int], np.ndarray]:
    """Return a function that reads a loose crop and aligns it by its five landmarks, as the published script does."""
    card = preset_card("aligned-112")
    assert card.recognizer is not None
    template = np.asarray(card.recognizer.template)

    def decode(index: int) -> np.ndarray:
        picture = images.read_image(Path(ijb.folder) / ijb.pictures[index])
        transform = estimate_similarity(ijb.landmarks[index], template)
        return warp(picture, transform, size_wh=card.input.size_wh)

    return decode


def _setting_names(given: list[str]) -> list[str]:
    if "all" in given:
        return _ALL_SETTINGS
    return given or ["N1D1F1"]


def _template_settings(text: str) -> TemplateSettings:
    match = _SETTING.fullmatch(text)
    if match is None:
        raise ConfigError(f"--setting {text!r}; allowed: all, {', '.join(_ALL_SETTINGS)}")
    norm, detector, flip = (digit == "1" for digit in match.groups())
    return TemplateSettings(norm_weight=norm, detector_weight=detector, flip=flip)


def _embedders(args: argparse.Namespace) -> list[Embedder]:
    settings = EmbedderSettings(network=args.network, engine=args.engine, device=args.device, threads=args.threads)
    return open_embedders(args.model or ["MobileFace"], settings=settings)


def _is_main(ranks: Optional[Ranks]) -> bool:
    return ranks is None or ranks.rank() == 0


def _table(head: list[str], rows: list[list[str]]) -> PrettyTable:
    table = PrettyTable(head)
    table.align = "l"
    table.add_rows(rows)
    return table
