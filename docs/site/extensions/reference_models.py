"""The model zoo: shipped models from their cards, models that can be fetched, and networks that can be trained."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import markdown
import yaml

from arcface_paddle.pipeline import cards, model_files

FILE = Path(__file__).parents[1] / "model_figures.yaml"
WORDS = {
    "en": {"model": "model", "task": "task", "size": "MB", "accuracy": "accuracy", "time": "ms", "licence": "licence",
           "network": "network", "embedding": "embedding", "parameters": "10⁶ parameters",
           "multiply_adds": "10⁹ multiply-adds", "origin": "whose", "fetched": "fetched on demand"},
    "zh": {"model": "模型", "task": "任务", "size": "MB", "accuracy": "精度", "time": "毫秒",
           "licence": "许可（英文原文）",
           "network": "网络", "embedding": "特征维数", "parameters": "参数量（百万）",
           "multiply_adds": "乘加次数（十亿）", "origin": "来源", "fetched": "按需下载"},
}  # fmt: skip


@functools.cache
def figures() -> dict[str, dict[str, str]]:
    """Return accuracy and time of models, by name, as they were measured."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def models(language: str) -> str:
    """Return the table of all models that a name stands for."""
    words = WORDS[language]
    rows = []
    for name, model in model_files.REGISTRY.items():
        known = figures().get(name, {})
        folder = shipped_folder(name)
        size = _megabytes(folder) if folder else words["fetched"]
        licence = cards.read_card(folder / "model.json").licence if folder else "–"
        accuracy, time = (known.get(f"{key}_{language}", "–") for key in ("accuracy", "time"))
        rows.append([markdown.code(name), model.task, size, accuracy, time, markdown.escaped(licence)])
    return markdown.table([words[key] for key in ("model", "task", "size", "accuracy", "time", "licence")], rows)


def shipped_folder(name: str) -> Any:
    """Return the folder of a shipped model, None for one that is fetched."""
    folder = Path(__file__).parents[3] / "inference_model" / name
    return folder if folder.is_dir() else None


def _megabytes(folder: Path) -> str:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".pdparams") / 1e6
    return f"{size:.1f}" if size >= 0.1 else "< 0.1"


def card(language: str, name: str) -> str:
    """Return what the card of a shipped model says."""
    shown = cards.read_card(shipped_folder(name) / "model.json")
    parts = {"source": shown.source, "licence": shown.licence, "output": shown.output, "notice": shown.notice}
    return "\n".join(f"- **{key}**: {markdown.escaped(text)}" for key, text in parts.items() if text)


def backbones(language: str) -> str:
    """Return the table of networks that can be trained, with their size."""
    from arcface_paddle.backbones.facts import FACTS

    words = WORDS[language]
    rows = [
        [
            markdown.code(name),
            f"{fact.parameters / 1e6:.2f}",
            f"{fact.multiply_adds / 1e9:.3f}",
            markdown.escaped(fact.origin),
        ]
        for name, fact in FACTS.items()
    ]
    return markdown.table([words[key] for key in ("network", "parameters", "multiply_adds", "origin")], rows)
