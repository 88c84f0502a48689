"""The predicted time of a step on a GPU, against sums by hand and against what others have measured and published."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from arcface_paddle.cli.main import main
from arcface_paddle.errors import ConfigError
from arcface_paddle.training.planner import BackboneSize, PlanSettings, make_plan, measure_backbone
from arcface_paddle.training.step_time import CARDS, predict_step

NETWORKS = {  # what measure_backbone gives at 512-D, see test_measured_networks
    "iresnet50": BackboneSize(43_590_848, 18_102_016, 6_309_330_944, 159),
    "iresnet100": BackboneSize(65_156_160, 28_337_920, 12_089_606_144, 309),
}


@dataclass(frozen=True)
class Published:
    """Images a second of a whole machine of 8 cards, as its source says; ``batch`` is that of all cards."""

    source: str
    card: str
    network: str
    classes: int
    batch: int
    images_per_s: float
    sample_rate: float = 1.0
    precision: str = "float16"
    ranks: int = 8


_AT = "deepinsight/insightface recognition/arcface_torch/README.md, Speed Benchmark 1 (configs/3millions.py: 64 a card)"
_DOC = "the same, docs/speed_benchmark.md"
_V100 = "deepinsight/insightface benchmarks/train/nvidia_v100.md"
_A100 = "deepinsight/insightface benchmarks/train/nvidia_a100.md"
_3090 = "deepinsight/insightface benchmarks/train/nvidia_rtx3090.md"
_A10 = "deepinsight/insightface benchmarks/train/nvidia_a10.md"
_PLSC = "PaddlePaddle/PLSC v2.2.0 experiments/images/throughtput.png, static mode, sampling .1, MS1Mv3, read off bars"

FITTING = (
    Published(_AT, "V100", "iresnet50", 125_000, 512, 4824),
    Published(_AT, "V100", "iresnet50", 125_000, 512, 5004, 0.1),
    Published(_AT, "V100", "iresnet50", 1_400_000, 512, 3043),
    Published(_AT, "V100", "iresnet50", 1_400_000, 512, 4738, 0.1),
    Published(_AT, "V100", "iresnet50", 5_500_000, 512, 1389),
    Published(_AT, "V100", "iresnet50", 5_500_000, 512, 3975, 0.1),
    Published(_AT, "V100", "iresnet50", 8_000_000, 512, 3565, 0.1),
    Published(_DOC, "V100", "iresnet50", 3_000_000, 512, 2271, 0.99),
    Published(_DOC, "V100", "iresnet50", 3_000_000, 512, 5300, 0.1),
    Published(_V100, "V100", "iresnet50", 2_000_000, 512, 1868, precision="float32"),
    Published(_V100, "V100", "iresnet50", 2_000_000, 512, 2576),
    Published(_V100, "V100", "iresnet50", 2_000_000, 512, 4501, 0.1),
    Published(_V100, "V100", "iresnet50", 2_000_000, 1024, 1960, precision="float32"),
    Published(_V100, "V100", "iresnet50", 2_000_000, 1024, 2810),
    Published(_V100, "V100", "iresnet50", 2_000_000, 1024, 5430, 0.1),
    Published(_V100, "V100", "iresnet50", 2_000_000, 2048, 6095, 0.1),
    Published(_V100, "V100", "iresnet50", 618_000, 1024, 2607, precision="float32"),
    Published(_V100, "V100", "iresnet50", 618_000, 1024, 4322),
    Published(_V100, "V100", "iresnet50", 618_000, 2048, 4921),
    Published(_A100, "A100", "iresnet50", 618_000, 2048, 7780),
    Published(_A100, "A100", "iresnet50", 618_000, 10240, 9400),
    Published(_3090, "RTX_3090", "iresnet50", 618_000, 1024, 3790),
    Published(_3090, "RTX_3090", "iresnet50", 618_000, 2048, 4680),
    Published(_3090, "RTX_3090", "iresnet50", 2_000_000, 1024, 4220, 0.1),
    Published(_3090, "RTX_3090", "iresnet50", 2_000_000, 2048, 5330, 0.1),
    Published(_A10, "A10", "iresnet50", 618_000, 1024, 3360),
    Published(_A10, "A10", "iresnet50", 618_000, 2048, 3940),
    Published(_A10, "A10", "iresnet100", 618_000, 1024, 2210),
    Published(_PLSC, "V100", "iresnet50", 93_431, 1024, 6500, 0.1),
    Published(_PLSC, "A100_40GB", "iresnet50", 93_431, 1024, 10800, 0.1),
)
FACTOR = 1.5

NOT_FITTING = (
    # Their sampling sorts random numbers of all local classes, and copies momenta; ours costs a hash on the host.
    Published(_AT, "V100", "iresnet50", 29_000_000, 512, 1855, 0.1),
    # The same server does 9,400 with ten times the batch: it waited for something besides its cards, 100 ms a step.
    Published(_A100, "A100", "iresnet50", 618_000, 1024, 5400),
    Published(_A100, "A100", "iresnet50", 50_000_000, 1024, 2700, 0.1),
)
"""What is predicted too fast, by up to twice."""


def predicted(row: Published) -> float:
    """Images a second; classifiers of arcface_torch computed in float32 when these were measured, PLSC's in float16."""
    network = NETWORKS[row.network]
    settings = PlanSettings(
        row.classes,
        512,
        ranks=row.ranks,
        batch_size=row.batch // row.ranks,
        sample_rate=row.sample_rate,
        precision=row.precision,
    )
    time = predict_step(make_plan(settings, network), network, row.card)
    if row.source != _PLSC:
        single = predict_step(make_plan(replace(settings, precision="float32"), network), network, row.card)
        parts = {name: getattr(single, name) for name in ("classifier_products", "classifier_memory")}
        time = replace(time, **parts)
    return time.images_per_s


def row_name(row: Published) -> str:
    return f"{row.card}-{row.network}-{row.classes}-{row.batch}-{row.sample_rate:g}-{row.precision}"


@pytest.mark.parametrize("row", FITTING, ids=row_name)
def test_published_figures_are_met_within_the_factor(row: Published) -> None:
    assert 1 / FACTOR < predicted(row) / row.images_per_s < FACTOR


@pytest.mark.parametrize("row", NOT_FITTING, ids=row_name)
def test_what_does_not_fit_is_said(row: Published) -> None:
    assert FACTOR < predicted(row) / row.images_per_s < 2.2


def test_the_order_of_published_figures_is_that_of_the_predictions() -> None:
    """More classes, less sampling, float32: of two rows of one table the faster one is predicted to be faster."""
    rows = [row for row in FITTING if row.source in (_AT, _V100)]
    pairs = [(a, b) for a in rows for b in rows if a.source == b.source and a.images_per_s > 1.15 * b.images_per_s]
    assert len(pairs) > 40
    assert all(predicted(first) > predicted(second) for first, second in pairs)


def test_a_step_by_hand() -> None:
    backbone = BackboneSize(1_000_000, 5_000_000, 200_000_000, 400)
    settings = PlanSettings(1001, 64, ranks=4, batch_size=8)
    time = predict_step(make_plan(settings, backbone), backbone, "V100")
    rows, values_a_second, bytes_a_second = 251, 0.9 * 15.7e12, 0.8 * 900e9
    assert time.backbone_products == pytest.approx(2 * 3 * 200e6 * 8 / values_a_second)
    assert time.backbone_memory == pytest.approx(9 * 5e6 * 8 * 4 / bytes_a_second)
    assert time.classifier_products == pytest.approx(2 * 3 * 32 * rows * 64 / values_a_second)
    assert time.classifier_memory == pytest.approx((68 * 32 * rows + 190 * rows * 64) / bytes_a_second)
    sent = 3 * 8 * 64 * 4 * 2 + 2 * 3 * 3 * 4 * 32 // 4 + 2 * 3 * 4 * 1_000_000 // 4
    assert time.exchange == pytest.approx(sent / 130e9 + 8 * 30e-6)
    assert time.host == pytest.approx(400 * 3 * 12e-6) and time.total == time.host  # so small a batch
    assert time.images_per_s == pytest.approx(32 / time.host)
    alone = predict_step(make_plan(replace(settings, ranks=1, batch_size=800), backbone), backbone, "V100")
    assert alone.exchange == 0.0
    parts = alone.backbone_products + alone.backbone_memory + alone.classifier_products + alone.classifier_memory
    assert alone.total == pytest.approx(parts + alone.update) and alone.total > alone.host
    assert alone.update == pytest.approx(100 * 1e6 / bytes_a_second)
    many = predict_step(make_plan(replace(settings, batch_size=800), backbone), backbone, "V100")
    parts = many.backbone_products + many.backbone_memory + many.classifier_products + many.classifier_memory
    assert many.total == pytest.approx(parts + many.exchange + many.update, rel=1e-12) and many.total > many.host
    double = predict_step(make_plan(replace(settings, subcentres=2), backbone), backbone, "V100")
    assert double.classifier_memory == pytest.approx(2 * time.classifier_memory)
    for card, dtype, bytes_of_logit in (("V100", "float16", 64), ("A100", "bfloat16", 70)):
        half = predict_step(make_plan(replace(settings, precision=dtype), backbone), backbone, card)
        moved = bytes_of_logit * 32 * rows + 190 * rows * 64
        assert half.classifier_memory == pytest.approx(moved / (0.8e9 * CARDS[card].memory_gb_s))
        assert half.backbone_memory == pytest.approx(9 * 5e6 * 8 * 2 / (0.8e9 * CARDS[card].memory_gb_s))


def test_every_card_names_its_source_and_is_faster_in_16_bits() -> None:
    network = NETWORKS["iresnet50"]
    for name, card in CARDS.items():
        assert "NVIDIA" in card.source
        single, half = (
            predict_step(make_plan(PlanSettings(10_000, 512, precision=dtype), network), network, name)
            for dtype in ("float32", "float16")
        )
        assert half.total < single.total


def test_cards_are_as_their_sheets_have_them() -> None:
    """GB/s of the memory and of a ring, TFLOP/s in float32 and in 16 bits, shares of the latter that were fitted."""
    sheets = {
        "V100": (900, 130, 15.7, 125, 0.5),
        "A100": (2039, 230, 156, 312, 0.3),
        "A100_40GB": (1555, 230, 156, 312, 0.3),
        "H100": (3350, 350, 494, 989, 0.2),
        "RTX_4090": (1008, 12, 82.6, 165.2, 0.5),
        "RTX_3090": (936, 12, 35.6, 71, 0.5),
        "A10": (600, 12, 62.5, 125, 0.4),
    }
    assert sheets == {
        name: (card.memory_gb_s, card.exchange_gb_s, peak["float32"], peak["float16"], card.share)
        for name, card in CARDS.items()
        for peak in [card.peak_tflops]
    }
    assert all(
        card.peak_tflops.get("bfloat16", peak) == peak
        for card in CARDS.values()
        for peak in [card.peak_tflops["float16"]]
    )
    assert {name: card.share_of_float32 for name, card in CARDS.items() if card.share_of_float32} == {"V100": 0.9}


def test_what_a_card_lacks_is_refused() -> None:
    network = NETWORKS["iresnet50"]
    plan = make_plan(PlanSettings(10_000, 512, precision="bfloat16"), network)
    with pytest.raises(ConfigError, match="V100 does not compute in bfloat16; choose --precision float32, float16"):
        predict_step(plan, network, "V100")
    with pytest.raises(ConfigError, match="no card 'K80'; choose from V100, A100"):
        predict_step(plan, network, "K80")


def test_the_command_prints_the_cards(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["plan", "--num_classes", "1000", "--width", "0.25", "--batch_size", "8", "--card", "H100", "V100"]
    assert main(flags) == 0
    table = capsys.readouterr().out
    assert "| predicted step, ms" in table and "images a second, all processes" in table
    assert main([*flags, "--format", "json"]) == 0
    times = json.loads(capsys.readouterr().out)["step_time"]
    assert list(times) == ["H100", "V100"] and times["H100"]["backbone_memory"] < times["V100"]["backbone_memory"]
    assert main([*flags, "--precision", "bfloat16"]) == 2
    assert "V100 does not compute in bfloat16" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["iresnet50"])
def test_measured_networks(name: str) -> None:
    assert measure_backbone(name, embedding_size=512) == NETWORKS[name]
