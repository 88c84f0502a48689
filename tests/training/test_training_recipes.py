"""Every recipe in configs/ is read, fits its network and loss, is planned, and states what it costs."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from arcface_paddle.backbones import canonical_name, find_backbone
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.training.config import TrainConfig, load_config
from arcface_paddle.training.planner import BackboneSize, PlanSettings, make_plan, measure_backbone
from arcface_paddle.training.schedule import build_schedule

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(CONFIGS.glob("*.yaml"))
PUBLISHED_DATA = {  # folder: images, identities
    "faces_webface_112x112": (490_623, 10_572),
    "MS1M_bin": (5_822_653, 85_742),
    "WebFace4M": (4_235_242, 205_990),
    "WebFace12M": (12_720_066, 617_970),
    "glint360k": (17_091_657, 360_232),
    "WebFace42M": (42_474_558, 2_059_906),
    "synthetic_1m": (1_200_000, 100_000),
}
COST = re.compile(
    r"# Cost: ([\d,]+) steps of ([\d,]+) images on (\d+) GPUs; ([\d.]+) GiB a GPU; ([\d.]+)e18 multiplications in all\."
)


@functools.cache
def measured(network: str, embedding_size: int, width: float) -> BackboneSize:
    return measure_backbone(network, embedding_size=embedding_size, width=width)


def size_of(config: TrainConfig) -> tuple[BackboneSize, int]:
    name = canonical_name(config.network.network or "MobileFaceNet_192")  # that of --pretrained MobileFace
    size = config.network.embedding_size or find_backbone(name).embedding_size
    return measured(name, size, config.network.width or 1.0), size


def plan_settings(config: TrainConfig, *, classes: int, size: int, ranks: int) -> PlanSettings:
    per_rank = config.data.batch_size
    if config.data.global_batch_size is not None:
        per_rank = config.data.global_batch_size // ranks // config.optimizer.accumulation
    return PlanSettings(
        classes,
        size,
        ranks=ranks,
        batch_size=per_rank,
        sample_rate=config.classifier.sample_rate,
        subcentres=config.classifier.subcentres,
        centre_loss=config.classifier.centre_factor > 0,
        precision=config.optimizer.precision,
        optimizer=config.optimizer.optimizer,
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_read_and_planned(path):
    config = load_config(path)
    classifier = config.classifier
    margin = build_margin(
        classifier.loss, scale=classifier.scale, margin=classifier.margin, combined=classifier.combined or None
    )
    assert margin.scale == classifier.scale
    backbone, size = size_of(config)
    images, classes = PUBLISHED_DATA.get(config.data.data_dir, (6240, 260))
    plan = make_plan(plan_settings(config, classes=classes, size=size, ranks=2), backbone)
    assert plan.memory.total > 0
    schedule = build_schedule(config.schedule, lr=config.optimizer.lr, global_batch=512, steps_per_epoch=images // 512)
    assert schedule.total_steps > schedule.warmup_steps


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_header_has_command_cost_and_expected_result(path):
    header = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert f"--config configs/{path.name}" in header and re.search(r"Expected[ :]", header)
    config = load_config(path)
    if config.data.data_dir not in PUBLISHED_DATA:
        return  # small runs, whose time is measured
    cost = COST.search(header)
    assert cost is not None, "state the cost"
    steps, global_batch, ranks = (int(text.replace(",", "")) for text in cost.groups()[:3])
    assert f"--nproc_per_node={ranks}" in header
    images, classes = PUBLISHED_DATA[config.data.data_dir]
    assert global_batch == config.data.batch_size * ranks * config.optimizer.accumulation
    assert steps == round(config.schedule.epochs * (images // global_batch))
    backbone, size = size_of(config)
    plan = make_plan(plan_settings(config, classes=classes, size=size, ranks=ranks), backbone)
    work = steps * (3 * backbone.multiplications_per_image * global_batch + plan.multiplications_per_step)
    assert float(cost[4]) == pytest.approx(plan.memory.total / 2**30, abs=0.051)
    assert float(cost[5]) == pytest.approx(work / 1e18, abs=0.0051)


@pytest.mark.parametrize("data", ["casia", "ms1m", "webface4m", "webface12m", "glint360k"])
@pytest.mark.parametrize("network", ["iresnet50", "iresnet100", "mobilefacenet"])
def test_every_network_has_a_recipe_for_every_published_set(data, network):
    assert list(CONFIGS.glob(f"{data}_{network}*.yaml"))
