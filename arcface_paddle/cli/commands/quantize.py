"""Make an INT8 model for CPUs from a recogniser; the gate compares accuracy before and after on pairs of faces.

arcface-paddle quantize --model MobileFace --images MS1M_bin/label.txt --pairs MS1M_bin/lfw.bin --output my_int8

The pictures must be aligned crops like those that the model will see; a few hundred are enough, and they must not be
those of the pairs. The result runs in OpenVINO: test_recognition --rec_model my_int8 finds that in its card.
With --equalize the channels of the network are first made of equal size, which changes nothing in float32 and much in 8
bits. With --train_steps it then gets used to 8 bits: it learns, on the same pictures and without labels, to embed as it
did in float32. Both need the weights (training.pdparams, or --weights), and matter most with --every_layer, which
accelerators need that know nothing but INT8.

arcface-paddle quantize --model MobileFace --images set --pairs set/val.bin --output my_int8 --every_layer \\
    --equalize

exit codes: 0 written, 2 error or the gate failed (nothing was written)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:  # what is heavy is imported where it is used, so that --help is quick
    from arcface_paddle.data import FaceDataset
    from arcface_paddle.export.quantization_training import TrainedNetwork
    from arcface_paddle.pipeline.model_files import ModelFolder


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME_OR_DIR", help="float32 recogniser")
    parser.add_argument("--images", required=True, metavar="PATH", help="aligned crops: any dataset, or a folder tree")
    parser.add_argument("--pairs", required=True, metavar="FILE", help="verification set (.bin) for the gate")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the INT8 model")
    parser.add_argument("--count", type=int, default=300, help="crops used for calibration (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="choice of the crops (default: %(default)s)")
    parser.add_argument(
        "--max_auc_loss", type=float, default=0.002, help="largest loss of AUC that passes (default: %(default)s)"
    )
    parser.add_argument("--every_layer", action="store_true", help="quantise depthwise convolutions too")
    training = parser.add_argument_group("working on the weights")
    training.add_argument(
        "--equalize", action="store_true", help="make channels of equal size first, exactly; --train_steps does it too"
    )
    training.add_argument("--train_steps", type=int, default=0, help="steps of training for 8 bits (default: none)")
    training.add_argument("--train_batch", type=int, help="pictures a step (default: 16)")
    training.add_argument("--learning_rate", type=float, help="of Adam, at its highest (default: 1e-5)")
    training.add_argument(
        "--weights", metavar="FILE", help=".pdparams of the network (default: training.pdparams in the model's folder)"
    )
    training.add_argument("--network", help="its name (default: as the weights tell)")


def run(args: argparse.Namespace) -> int:
    from arcface_paddle.cli.tables import text_table
    from arcface_paddle.data import open_dataset, read_verification_set
    from arcface_paddle.export.quantization import quantize_model, sample_crops

    _refuse_idle_flags(args)
    require_writable_folder(args.output, option="--output")
    dataset = open_dataset(args.images)
    report = quantize_model(
        args.model,
        args.output,
        calibration=sample_crops(dataset, count=args.count, seed=args.seed),
        pairs=read_verification_set(args.pairs),
        max_auc_loss=args.max_auc_loss,
        every_layer=args.every_layer,
        train=_training(args, dataset) if args.train_steps or args.equalize else None,
    )
    if report.training is not None:
        before, after = report.training.cosine_before, report.training.cosine_after
        print(f"cosine of rounded to float32 embeddings: {before:.5f}, after {args.train_steps} steps {after:.5f}")
    rows = [
        [name, f"{side.accuracy:.4f}", f"{side.auc:.5f}", f"{side.milliseconds:.2f}"]
        for name, side in (("float32", report.float32), ("INT8", report.int8))
    ]
    print(text_table(["", "accuracy", "AUC", "ms a face (OpenVINO, 1 thread)"], rows))
    print(f"{args.output}: {report.speedup:.2f} times as fast; gate: {report.pairs}")
    return EXIT_OK


def _refuse_idle_flags(args: argparse.Namespace) -> None:
    """Refuse flags for working on the weights where nothing does: they would be ignored."""
    given = [f"--{name}" for name in ("weights", "network", "train_batch") if getattr(args, name) is not None]
    if given and not (args.train_steps or args.equalize):
        raise ConfigError(f"{', '.join(given)} is for working on the weights; add --equalize or --train_steps")
    if args.learning_rate is not None and not args.train_steps:
        raise ConfigError("--learning_rate is for the training; add --train_steps")


def _training(args: argparse.Namespace, dataset: FaceDataset) -> Callable[[ModelFolder], TrainedNetwork]:
    from arcface_paddle.export.quantization_training import QuantizationTraining, open_trainable, train_quantized

    named = {"batch_size": args.train_batch, "learning_rate": args.learning_rate}
    given = {name: value for name, value in named.items() if value is not None}
    settings = QuantizationTraining(dataset, args.train_steps, seed=args.seed, **given)

    def train(model: ModelFolder) -> TrainedNetwork:
        weights = Path(args.weights) if args.weights else None
        network = open_trainable(model, weights=weights, network=args.network)
        return train_quantized(network, model.card.input, settings, every_layer=args.every_layer)

    return train
