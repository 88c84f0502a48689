"""Predict memory per process and communication per step of a training run, and say whether sampling pays.

    arcface-paddle plan --num_classes 1000000 --network iresnet50 --embedding_size 512 --ranks 8 --batch_size 128
    arcface-paddle plan --num_classes 1000000 --network iresnet50 --precision float16 --ranks 8 --card A100 H100
    arcface-paddle plan --num_classes 1000000 --sample_rate 0.1 --format json

Nothing is trained; the network runs once on an empty picture to be measured. With --card it also predicts the time of
a step on these GPUs of one machine, from arithmetic and bytes: expect a factor of 1.5, and pictures that come in time.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from arcface_paddle.backbones import canonical_name, find_backbone
from arcface_paddle.heads.memory import BYTES_OF, STATES_OF
from arcface_paddle.training.planner import Plan, PlanSettings, advice, make_plan, measure_backbone
from arcface_paddle.training.step_time import CARDS, StepTime, predict_step

if TYPE_CHECKING:  # imported where it is used, so that --help is quick
    from prettytable import PrettyTable

_MB = 1 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    dtypes = tuple(BYTES_OF)
    parser.add_argument("--num_classes", type=int, required=True, help="number of identities")
    parser.add_argument(
        "--network", default="MobileFaceNet_128", help="name of the backbone, in any case (%(default)s)"
    )
    parser.add_argument("--embedding_size", type=int, help="length of the embedding (default: the network's own)")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the network's channel counts (1)")
    parser.add_argument("--ranks", type=int, default=1, help="number of processes (1)")
    parser.add_argument("--batch_size", type=int, default=128, help="images per process and forward pass (128)")
    parser.add_argument("--sample_rate", type=float, default=1.0, help="share of the class centres in a step (1)")
    parser.add_argument("--subcentres", type=int, default=1, help="centres a class (1)")
    parser.add_argument("--centre_loss", action="store_true", help="with a centre loss, which has its own centres")
    parser.add_argument("--precision", choices=dtypes, default="float32", help="dtype of the activations (float32)")
    parser.add_argument("--weight_dtype", choices=dtypes, default="float32", help="dtype of class centres (float32)")
    parser.add_argument("--momentum_dtype", choices=dtypes, default="float32", help="dtype of their momentum (float32)")
    parser.add_argument("--optimizer", choices=tuple(STATES_OF), default="sgd", help="update rule of the run (sgd)")
    parser.add_argument("--card", nargs="+", choices=tuple(CARDS), default=[], help="GPUs to predict the step time for")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print (table)")


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    network = canonical_name(args.network)
    size = find_backbone(network).embedding_size if args.embedding_size is None else args.embedding_size
    settings = PlanSettings(
        num_classes=args.num_classes,
        embedding_size=size,
        ranks=args.ranks,
        batch_size=args.batch_size,
        sample_rate=args.sample_rate,
        subcentres=args.subcentres,
        centre_loss=args.centre_loss,
        precision=args.precision,
        weight_dtype=args.weight_dtype,
        momentum_dtype=args.momentum_dtype,
        optimizer=args.optimizer,
    )
    backbone = measure_backbone(network, embedding_size=size, width=args.width)
    plan = make_plan(settings, backbone)
    sentences = advice(plan, backbone)
    times = {name: predict_step(plan, backbone, name) for name in args.card}
    if args.format == "json":
        of_cards = {"step_time": {name: time.as_dict() for name, time in times.items()}} if times else {}
        print(json.dumps({**plan.as_dict(), "network": network, "advice": sentences, **of_cards}, indent=2))
        return 0
    print(_table(plan))
    if times:
        print(_time_table(times))
    for sentence in sentences:
        print(f"- {sentence}")
    return 0


def _table(plan: Plan) -> PrettyTable:
    from prettytable import PrettyTable

    values = plan.as_dict()
    table = PrettyTable(["per process", "MB"])
    table.align["per process"], table.align["MB"] = "l", "r"
    for group in ("memory", "communication"):
        rows = list(values[group].items())
        for index, (name, count) in enumerate(rows):
            words = f"{group}: {name.replace('_', ' ')}" + (" sent per pass" if group == "communication" else "")
            table.add_row([words, f"{count / _MB:,.1f}"], divider=index == len(rows) - 1)
    return table


def _time_table(times: dict[str, StepTime]) -> PrettyTable:
    from prettytable import PrettyTable

    table = PrettyTable(["predicted step, ms", *times])
    table.align = "r"
    table.align["predicted step, ms"] = "l"
    values = [time.as_dict() for time in times.values()]
    parts = [name for name in values[0] if name not in ("images", "ranks", "images_per_s")]
    for name in parts:
        numbers = [f"{1000 * own[name]:,.1f}" for own in values]
        table.add_row([name.replace("_", " "), *numbers], divider=name == parts[-2])
    table.add_row(["images a second, all processes", *(f"{own['images_per_s']:,.0f}" for own in values)])
    return table
