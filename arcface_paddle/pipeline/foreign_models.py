"""Models of insightface that lie alone as an ``.onnx`` file: told by what they take and give, and given a card.

- SCRFD detectors (scrfd_500m, 2.5g, 10g, det_500m, det_10g): one picture in; 6, 9, 10 or 15 tables out: scores, boxes
  and perhaps five points for each of the strides 8, 16, 32 (two anchors a cell) or 8 to 128 (one).
- Recognisers (w600k_r50, w600k_mbf, glintr100): one crop of 112x112 in, one feature out. Those made by MXNet begin with
  a subtraction and a multiplication and take pixels as they are.

Source: what insightface's python package decides by (model_zoo/scrfd.py, model_zoo/arcface_onnx.py).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.onnx_facts import OnnxFacts, Port, read_onnx_facts

SCRFD = "scrfd"
RECOGNIZER = "insightface-112"
"""Presets, see ``settings.PRESETS``."""

_CROP = 112
_FEATURE_SIZES = range(16, 4097)
_LAYOUTS = {6: (3, 2), 9: (3, 3), 10: (5, 2), 15: (5, 3)}
"""Number of outputs of a SCRFD → number of strides, and tables for each: scores, boxes, perhaps points."""
_COLUMNS = (1, 4, 10)


def card_of_onnx(path: Path, presets: dict[str, cards.ModelCard]) -> cards.ModelCard:
    """Return the card of an ``.onnx`` file without one.

    Args:
        path: the file.
        presets: cards of ``SCRFD`` and ``RECOGNIZER``.

    Raises:
        ModelFileError: it is no ONNX model, or one of neither kind.
    """
    facts = read_onnx_facts(path)
    card = _scrfd_card(facts, presets[SCRFD]) or _recognizer_card(facts, presets[RECOGNIZER])
    if card is None:
        raise ModelFileError(
            f"{path}: takes {_shown(facts.inputs)} and gives {_shown(facts.outputs)}; known without a card are SCRFD "
            "detectors (6, 9, 10 or 15 outputs) and recognisers of crops of 112x112 (one output)"
        )
    return dataclasses.replace(card, name=path.stem)


def recognizer_card(path: Path, preset: cards.ModelCard) -> Optional[cards.ModelCard]:
    """Return the card of a recogniser's ``.onnx`` file; None when its ports are not those of one.

    Raises:
        ModelFileError: it is no ONNX model.
    """
    card = _recognizer_card(read_onnx_facts(path), preset)
    return card and dataclasses.replace(card, name=path.stem)


def fixed_batch(path: Path) -> Optional[int]:
    """Return how many pictures an ``.onnx`` file takes at a time; None when that is open. Raises ``ModelFileError``."""
    inputs = read_onnx_facts(path).inputs
    return inputs[0].sides[0] if inputs and inputs[0].sides else None


def _scrfd_card(facts: OnnxFacts, preset: cards.ModelCard) -> Optional[cards.ModelCard]:
    picture = _picture(facts)
    if picture is None or len(facts.outputs) not in _LAYOUTS:
        return None
    levels, kinds = _LAYOUTS[len(facts.outputs)]
    columns = [port.sides[-1] if port.sides else None for port in facts.outputs]
    expected = [column for column in _COLUMNS[:kinds] for _ in range(levels)]
    if any(found is not None and found != wanted for found, wanted in zip(columns, expected)):
        return None
    strides = tuple(8 << level for level in range(levels))
    height, width = picture.sides[2:]
    spec = preset.detector
    assert spec is not None, "the preset is one of a detector"
    size_wh = (width or preset.input.size_wh[0], height or preset.input.size_wh[1])
    if any(side % strides[-1] for side in size_wh):
        return None
    scales = tuple(dataclasses.replace(scale, size=max(size_wh)) for scale in spec.scales)
    spec = dataclasses.replace(
        spec,
        strides=strides,
        anchors=((2 if levels == 3 else 1),) * levels,
        keypoints=5 if kinds == 3 else 0,
        scales=scales,
    )
    return dataclasses.replace(preset, detector=spec, input=dataclasses.replace(preset.input, size_wh=size_wh))


def _recognizer_card(facts: OnnxFacts, preset: cards.ModelCard) -> Optional[cards.ModelCard]:
    picture = _picture(facts)
    if picture is None or len(facts.outputs) != 1 or picture.sides[2:] != (_CROP, _CROP):
        return None
    sides = facts.outputs[0].sides
    size = sides[-1] if len(sides) == 2 else None
    if sides and (len(sides) != 2 or (size is not None and size not in _FEATURE_SIZES)):
        return None
    spec = preset.recognizer
    assert spec is not None, "the preset is one of a recogniser"
    card = dataclasses.replace(preset, recognizer=dataclasses.replace(spec, embedding_size=size or 0))
    if {"Sub", "Mul"} <= set(facts.first_operators):
        plain = dataclasses.replace(card.input, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        card = dataclasses.replace(card, input=plain)
    return card


def _picture(facts: OnnxFacts) -> Optional[Port]:
    """Return the only input if it takes pictures (N, 3, H, W)."""
    inputs = facts.inputs
    return inputs[0] if len(inputs) == 1 and len(inputs[0].sides) == 4 and inputs[0].sides[1] == 3 else None


def _shown(ports: tuple[Port, ...]) -> str:
    texts = [f"({', '.join('?' if side is None else str(side) for side in port.sides)})" for port in ports[:4]]
    return (", ".join(texts) or "nothing") + (", …" if len(ports) > 4 else "")
