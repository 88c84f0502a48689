"""Export a trained network as an inference model, proven equal to the network before anything is written.

The default is the published form, inference.pdmodel + inference.pdiparams, which Paddle 2.6 and Paddle 3
read; json is the form of Paddle 3, onnx that of everybody else. The folder drops into test_recognition --rec_model DIR.

exit codes: 0 written, 2 wrong use or the parity gate failed (nothing was written)
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_folder

DEFAULT_OUTPUT = "./inference_model/"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", default="MobileFaceNet_128", help="backbone (default: %(default)s)")
    parser.add_argument("--pretrained_model", required=True, metavar="FILE", help="weights, .pdparams")
    parser.add_argument(
        *("--output", "--output_path"),
        default=DEFAULT_OUTPUT,
        metavar="DIR",
        help="folder of the model (default: %(default)s); other files in it stay",
    )
    parser.add_argument("--embedding_size", type=int, help="length of the feature (default: as in the weights)")
    parser.add_argument("--width", type=float, help="channel factor used in training (default: as in the weights)")
    parser.add_argument("--format", choices=("pdmodel", "json", "onnx"), default="pdmodel", help="default: pdmodel")
    parser.add_argument("--normalize", action="store_true", help="L2-normalise inside the graph")
    parser.add_argument("--mirror", action="store_true", help="add the mirrored picture's features inside the graph")
    parser.add_argument("--no_fold", action="store_true", help="keep batch normalisations as they are")


def run(args: argparse.Namespace) -> int:
    from arcface_paddle.export.exporter import export_model
    from arcface_paddle.export.graph import GraphSettings
    from arcface_paddle.export.network_source import NetworkSource

    require_writable_folder(args.output, option="--output")
    source = NetworkSource(args.network, args.pretrained_model, args.embedding_size, args.width)
    settings = GraphSettings(mirror=args.mirror, normalize=args.normalize, fold=not args.no_fold)
    result = export_model(source, Path(args.output), model_format=args.format, settings=settings)
    print(
        f"parity gate passed: {result.parity.images} pictures, batches of 1 and 7, smallest cosine "
        f"{result.parity.min_cosine:.7f}, lengths within {result.parity.max_relative_norm_error:.1e}"
    )
    print(f"written to {result.folder}: {', '.join(result.files)}")
    return EXIT_OK
