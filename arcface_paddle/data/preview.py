"""Pictures of a dataset, and what augmentation makes of them, to be looked at before a training of days."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from arcface_paddle.data.augment_settings import Step
from arcface_paddle.data.augmentation import Augmentation, centre_crop
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.epoch_order import augment_keys, epoch_order, mirrored
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.pipeline.drawing import FONT_PATH, load_font

COLUMNS = 8
_GAP, _TITLE = 8, 20  # pixels between pictures, and the height of a line of text
_BACKGROUND, _INK, _FONT_SIZE = (250, 250, 250), (30, 30, 30), 13
_EPOCHS_SHOWN_OF = 3  # samples


@dataclass(frozen=True, eq=False)
class PreviewRow:
    """Some pictures under a title.

    Attributes:
        title: what they are.
        captions: one text per picture.
        pictures: (H, W, 3) uint8 RGB each.
    """

    title: str
    captions: tuple[str, ...]
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class PreviewSettings:
    """What is shown.

    Attributes:
        pictures: number of samples of the dataset, drawn at random.
        steps: augmentations; each gets a row of its own, and all together get rows as training sees them.
        ccrop: take the middle of every picture first, as training does with it.
        flip: mirror half of the pictures where training's are shown.
        seed: of the samples and of all that is random; training's, to see what training will see.
    """

    pictures: int = 24
    steps: tuple[Step, ...] = ()
    ccrop: bool = False
    flip: bool = True
    seed: int = 0


def preview_rows(dataset: FaceDataset, settings: PreviewSettings) -> list[PreviewRow]:
    """Read samples and change them.

    Raises:
        DataError: none of the samples drawn can be read.
    """
    count = min(settings.pictures, len(dataset))
    drawn = epoch_order(len(dataset), seed=settings.seed, epoch=0)[:count].tolist()
    samples = list(_readable(dataset, drawn))
    if not samples:
        raise DataError(f"{dataset.name}: none of {count} samples can be read; 'data doctor' says why")
    rows = []
    for begin in range(0, len(samples), COLUMNS):
        part = samples[begin : begin + COLUMNS]
        title = f"{dataset.name}: {len(samples)} of {len(dataset)} samples" if begin == 0 else ""
        rows.append(PreviewRow(title, tuple(each.caption for each in part), tuple(each.picture for each in part)))
    if settings.steps or settings.ccrop:
        rows += _augmentation_rows(samples, settings)
    return rows


@dataclass(frozen=True, eq=False)
class _Sample:
    index: int
    caption: str
    picture: np.ndarray


def _readable(dataset: FaceDataset, indices: Sequence[int]) -> Iterator[_Sample]:
    for index in indices:
        with contextlib.suppress(DataError, ImageError):  # the doctor's business
            yield _Sample(index, f"{index}: label {int(dataset.labels[index])}", dataset.read_image(index))


def _augmentation_rows(samples: Sequence[_Sample], settings: PreviewSettings) -> Iterator[PreviewRow]:
    first = samples[0]
    if settings.ccrop:
        shown = samples[: COLUMNS // 2]
        pictures = tuple(each for sample in shown for each in (sample.picture, centre_crop(sample.picture)))
        yield PreviewRow("ccrop: original and middle, in pairs", ("original", "middle") * len(shown), pictures)
    for step in settings.steps:
        always = Step(step.name, 1.0, step.low, step.high)
        change = Augmentation([always], ccrop=settings.ccrop)
        keys = [int(augment_keys(np.array([first.index]), seed=settings.seed, epoch=e)[0]) for e in range(COLUMNS - 1)]
        title = f"{step.name}: {step.low:g} to {step.high:g}, of {100 * step.probability:g} % of the pictures"
        yield _row(title, first, [change(first.picture, key) for key in keys])
    for sample in samples[:_EPOCHS_SHOWN_OF]:
        epochs = [_as_trained(sample, settings, epoch=epoch) for epoch in range(COLUMNS - 1)]
        yield _row(f"as training sees sample {sample.index}, epoch by epoch", sample, epochs)


def _row(title: str, sample: _Sample, changed: Sequence[np.ndarray]) -> PreviewRow:
    return PreviewRow(title, ("original", *("" for _ in changed)), (sample.picture, *changed))


def _as_trained(sample: _Sample, settings: PreviewSettings, *, epoch: int) -> np.ndarray:
    """Return what the loader makes of a sample in an epoch, before normalisation."""
    where = {"seed": settings.seed, "epoch": epoch}
    index = np.array([sample.index])
    change = Augmentation(settings.steps, ccrop=settings.ccrop)
    picture = change(sample.picture, int(augment_keys(index, **where)[0]))
    flips = settings.flip and bool(mirrored(index, **where)[0])
    return np.ascontiguousarray(picture[:, ::-1]) if flips else picture


def draw_sheet(rows: Sequence[PreviewRow]) -> np.ndarray:
    """Lay rows out on one (H, W, 3) uint8 RGB picture, with their titles and captions."""
    size = max(picture.shape[0] for row in rows for picture in row.pictures)
    columns = max(len(row.pictures) for row in rows)
    heights = [(_TITLE if row.title else 0) + size + (_TITLE if any(row.captions) else 0) + _GAP for row in rows]
    sheet = Image.new("RGB", (_GAP + columns * (size + _GAP), _GAP + sum(heights)), _BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), load_font(str(FONT_PATH), _FONT_SIZE)
    top = _GAP
    for row, height in zip(rows, heights):
        y = top
        if row.title:
            pen.text((_GAP, y), row.title, fill=_INK, font=font)
            y += _TITLE
        for number, (picture, caption) in enumerate(zip(row.pictures, row.captions)):
            x = _GAP + number * (size + _GAP)
            sheet.paste(Image.fromarray(picture), (x, y))
            pen.text((x, y + size + 2), caption, fill=_INK, font=font)
        top += height
    return np.asarray(sheet)
