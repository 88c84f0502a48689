"""From a filled network to a folder with ``inference.pdmodel``, ``inference.pdiparams`` and a card."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Union

import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

from arcface_paddle import files, weight_files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.export.saving import forget_call_stacks
from arcface_paddle.pipeline import cards

MODEL_PREFIX = "inference"
TRAINING_WEIGHTS = "training.pdparams"


def write_folder(target: Path, network: nn.Layer, card: cards.ModelCard, *, trainable: bool = False) -> cards.ModelCard:
    """Write a model folder as a whole; thresholds that were calibrated for an earlier copy are kept.

    Args:
        target: the folder; replaced when it exists.
        network: in evaluation mode; its batch normalisations are folded away by this call.
        card: its ``files`` are filled in.
        trainable: also write the network's state as it was before folding, for fine-tuning.
    """
    card = _with_calibration_of(target, card)
    height, width = (-1, -1) if card.detector else card.input.size_wh[::-1]
    with files.atomic_folder(target) as folder:
        if trainable:
            state = {name: value.numpy() for name, value in network.state_dict().items()}
            weight_files.write_state_dict(folder / TRAINING_WEIGHTS, state)
        fold_batch_norms(network)
        signature = [InputSpec([-1, 3, height, width], "float32", "image")]
        with paddle.utils.unique_name.guard():  # the same names whatever was exported before
            paddle.jit.save(network, os.fspath(folder / MODEL_PREFIX), input_spec=signature)
        forget_call_stacks(folder / f"{MODEL_PREFIX}.pdmodel")
        (folder / f"{MODEL_PREFIX}.pdiparams.info").unlink()  # names for further training; inference ignores it
        return cards.write_card(folder, card)


def write_card_alone(target: Path, card: cards.ModelCard) -> cards.ModelCard:
    """Write the folder of a model that is made of others: nothing but the card, with what was calibrated for it."""
    card = _with_calibration_of(target, card)
    with files.atomic_folder(target) as folder:
        return cards.write_card(folder, card)


def fold_batch_norms(network: nn.Layer) -> None:
    """Multiply each batch normalisation into the convolution declared before it; for evaluation only.

    Paddle can do so when it loads a model, but that takes longer than all the rest of loading.
    """
    for parent in network.sublayers(include_self=True):
        previous = None
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2D) and isinstance(previous, (nn.Conv2D, nn.Conv2DTranspose)):
                _fold(previous, layer)
                parent.add_sublayer(name, nn.Identity())
            previous = layer


def _fold(convolution: Union[nn.Conv2D, nn.Conv2DTranspose], norm: nn.BatchNorm2D) -> None:
    variance, mean = norm._variance.numpy().astype(np.float64), norm._mean.numpy()
    factor = norm.weight.numpy() / np.sqrt(variance + norm._epsilon)
    # A convolution's weight is (out, in, rows, columns), a transposed one's (in, out, rows, columns).
    by_output = (None, slice(None)) if isinstance(convolution, nn.Conv2DTranspose) else (slice(None), None)
    weight = convolution.weight.numpy() * factor[(*by_output, None, None)]
    convolution.weight.set_value(weight.astype(np.float32))
    convolution.bias = convolution.create_parameter([len(factor)], is_bias=True)
    convolution.bias.set_value((norm.bias.numpy() - mean * factor).astype(np.float32))


def _with_calibration_of(target: Path, card: cards.ModelCard) -> cards.ModelCard:
    if card.recognizer is None or not (target / cards.CARD_NAME).exists():
        return card
    try:
        earlier = cards.read_card(target / cards.CARD_NAME).recognizer
    except ModelFileError:
        return card
    if earlier is None or earlier.calibration is None:
        return card
    return dataclasses.replace(card, recognizer=dataclasses.replace(card.recognizer, calibration=earlier.calibration))
