"""Make an INT8 model for CPUs from a recogniser; the gate compares accuracy before and after on pairs of faces.

arcface-paddle quantize --model MobileFace --images MS1M_bin/label.txt --pairs MS1M_bin/lfw.bin --output my_int8

The pictures must be aligned crops like those that the model will see; a few hundred are enough, and they must not be
those of the pairs. The result runs in OpenVINO: test_recognition --rec_model my_int8 finds that in its card.
exit codes: 0 written, 2 error or the gate failed (nothing was written)
"""

from __future__ import annotations

import argparse

import numpy as np

from arcface_paddle.cli.main import EXIT_OK


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


def run(args: argparse.Namespace) -> int:
    from prettytable import PrettyTable

    from arcface_paddle.data.verification_set import read_verification_set
    from arcface_paddle.export.quantization import quantize_model

    report = quantize_model(
        args.model,
        args.output,
        calibration=sample_crops(args.images, count=args.count, seed=args.seed),
        pairs=read_verification_set(args.pairs),
        max_auc_loss=args.max_auc_loss,
    )
    table = PrettyTable(["", "accuracy", "AUC", "ms a face (OpenVINO, 1 thread)"])
    for name, side in (("float32", report.float32), ("INT8", report.int8)):
        table.add_row([name, f"{side.accuracy:.4f}", f"{side.auc:.5f}", f"{side.milliseconds:.2f}"])
    print(table)
    print(f"{args.output}: {report.speedup:.2f} times as fast; gate: {report.pairs}")
    return EXIT_OK


def sample_crops(path: str, *, count: int, seed: int) -> np.ndarray:
    """Return at most ``count`` crops (N, 112, 112, 3) uint8 RGB of a dataset, chosen by the seed."""
    from arcface_paddle import images
    from arcface_paddle.data.opening import open_dataset

    dataset = open_dataset(path)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[: max(1, count)]
    crops = [images.decode_crop(dataset.read_encoded(int(i)), name=dataset.path_of(int(i))) for i in chosen]
    return np.stack([crop if crop.shape[:2] == (112, 112) else images.resize(crop, (112, 112)) for crop in crops])
