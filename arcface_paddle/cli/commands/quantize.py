"""Make an INT8 model for CPUs from a recogniser; the gate compares accuracy before and after on pairs of faces.

arcface-paddle quantize --model MobileFace --images MS1M_bin/label.txt --pairs MS1M_bin/lfw.bin --output my_int8

The pictures must be aligned crops like those that the model will see; a few hundred are enough, and they must not be
those of the pairs. The result runs in OpenVINO: test_recognition --rec_model my_int8 finds that in its card.
exit codes: 0 written, 2 error or the gate failed (nothing was written)
"""

from __future__ import annotations

import argparse

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
    from arcface_paddle.cli.tables import text_table
    from arcface_paddle.data import open_dataset, read_verification_set
    from arcface_paddle.export.quantization import quantize_model, sample_crops

    report = quantize_model(
        args.model,
        args.output,
        calibration=sample_crops(open_dataset(args.images), count=args.count, seed=args.seed),
        pairs=read_verification_set(args.pairs),
        max_auc_loss=args.max_auc_loss,
    )
    rows = [
        [name, f"{side.accuracy:.4f}", f"{side.auc:.5f}", f"{side.milliseconds:.2f}"]
        for name, side in (("float32", report.float32), ("INT8", report.int8))
    ]
    print(text_table(["", "accuracy", "AUC", "ms a face (OpenVINO, 1 thread)"], rows))
    print(f"{args.output}: {report.speedup:.2f} times as fast; gate: {report.pairs}")
    return EXIT_OK
