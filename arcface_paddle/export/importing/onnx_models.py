"""ONNX models that stay as they are: a copy with a card, which has run before anything is written."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.evaluation.embedder import model_embedder
from arcface_paddle.export.exporter import embed_with_folder, parity_crops
from arcface_paddle.export.parity import ParityReport, check_parity
from arcface_paddle.export.saving import ONNX_FILE
from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.builders import build_detector
from arcface_paddle.pipeline.model_files import find_card, open_model

_NOISE_HW = (480, 640)


def copy_model(path: Path, folder: Path, *, licence: str) -> cards.ModelCard:
    """Copy an ONNX file into a folder and write its card.

    Raises:
        ModelFileError: it is nothing known, damaged, or the folder cannot be written.
    """
    card = find_card(path)
    card = dataclasses.replace(
        card,
        name=files.printable(card.name),
        source=f"{files.printable(path.name)} (sha256 {files.sha256_of_file(path)}), imported by arcface_paddle",
        licence=licence or card.licence,
        files={},
    )
    try:
        shutil.copyfile(path, folder / ONNX_FILE)
        return cards.write_card(folder, card)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be written: {error.strerror or error}") from None


def check_run(folder: Path, path: Path, card: cards.ModelCard) -> Optional[ParityReport]:
    """Run the copy as its card says: a detector on noise, a recogniser on the pictures of the parity gate.

    Args:
        folder: with the copy and its card.
        path: the original.
        card: of the copy.

    Raises:
        ModelFileError: the outputs are not what the card says or not finite, or copy and original differ.
    """
    if card.detector is not None:
        noise = np.random.default_rng(0).integers(0, 256, (*_NOISE_HW, 3), dtype=np.uint8)
        build_detector(folder, rotate="0").detect(noise)
        return None
    original = model_embedder(open_model(path, task=cards.RECOGNITION), name="original")
    return check_parity(original.embed, embed_with_folder(folder), crops=parity_crops())
