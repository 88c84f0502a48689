"""Import a model of another toolkit as a model folder, for test_recognition --rec_model DIR or --det_model DIR.

    arcface-paddle import backbone.pth --output r50          arcface_torch: iresnet18 to iresnet200, mbf
    arcface-paddle import work_dirs/ms1mv3_r50 --output r50  its checkpoint_gpu_0.pt, …, with the class centres
    arcface-paddle import FresResNet50/24 --output r50       Arcface-Paddle and PLSC: a file per parameter, meta.json
    arcface-paddle import MobileFaceNet_128.pdparams --output mobile
    arcface-paddle import det_10g.onnx --output det          insightface: SCRFD detectors, w600k_r50 and the like
    arcface-paddle import MobileFaceNet.tflite --output mobile

Nothing of a file is executed. Weights go through the parity gate and come with training.pdparams for train.py
--pretrained DIR; class centres lie in DIR/resume, from where train.py --output DIR/resume --resume 1 goes on.

exit codes: 0 written, 2 the source cannot be imported (nothing was written)
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_folder

if TYPE_CHECKING:
    from arcface_paddle.export.importing.importer import ImportResult


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="file or folder; what it is is told by its content")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the model; other files in it stay")
    parser.add_argument("--network", help="backbone, where the weights do not tell which one they are of")
    parser.add_argument("--licence", default="", metavar="TEXT", help="what the card says about the licence")
    parser.add_argument(
        "--format",
        choices=("pdmodel", "json", "onnx"),
        default="pdmodel",
        help="of imported weights (default: pdmodel)",
    )


def run(args: argparse.Namespace) -> int:
    from arcface_paddle.export.importing.importer import ImportSettings, import_model

    require_writable_folder(args.output, option="--output")
    settings = ImportSettings(network=args.network, licence=args.licence, model_format=args.format)
    result = import_model(args.source, args.output, settings=settings)
    print(f"{args.source}: {result.kind}, {_what(result)}")
    if result.parity is not None:
        print(
            f"parity gate passed: {result.parity.images} pictures, batches of 1 and 7, smallest cosine "
            f"{result.parity.min_cosine:.7f}"
        )
    print(f"written to {result.folder}: {', '.join(result.card.files)}, model.json")
    if result.class_centres:
        print(
            f"{result.class_centres} class centres in {result.folder}/resume; to go on: train.py --network "
            f"{result.network} --output {result.folder}/resume --resume 1"
        )
    return EXIT_OK


def _what(result: ImportResult) -> str:
    if result.network:
        spec = result.card.recognizer
        return f"{result.network}, features of {spec.embedding_size if spec else 0} values"
    return result.card.task
