"""What the training data say about why nothing is learnt: labels, pictures a person, size, alignment, mix-ups.

Labels are counted in full; pictures are looked at in a seeded sample. The shipped recogniser judges whether labels have
anything to do with faces: two pictures under one label must resemble each other more than two under different ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional

import numpy as np

from arcface_paddle import images
from arcface_paddle.data import FaceDataset
from arcface_paddle.data.dataset import IMAGE_SIZE
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.pipeline.alignment import COMMON_TEMPLATE
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.training.explain.verdict import CERTAIN, LIKELY, POSSIBLE, Obstacle

_PEOPLE = 40
"""People looked at, two pictures each: enough to tell a mean similarity to +- .03."""
_FEW_PICTURES = 5.0
_LONE_SHARE = 0.3
_LARGEST_SHARE = 0.2
_UNRELATED_GAP = 0.15
"""Difference of mean similarity within and between labels: .5 and more on sound sets, 0 +- .03 on shuffled labels."""
_ALIGNED_PX = 7.0
"""Median distance of the five points from the template, at 112 pixels; aligned sets have 1 to 4."""
_FACES_SHARE = 0.5
_DARK, _BRIGHT = 12.0, 243.0


@dataclass(frozen=True)
class SampledPictures:
    """Pictures of the training data, two of each of some people.

    Attributes:
        crops: (2P, 112, 112, 3) uint8 RGB, the two of a person beside each other.
        sizes_wh: width and height of each as stored.
        unreadable: people left out because a picture of theirs could not be read.
    """

    crops: np.ndarray
    sizes_wh: tuple[tuple[int, int], ...]
    unreadable: int


def sample_pictures(dataset: FaceDataset, *, seed: int = 0, people: int = _PEOPLE) -> SampledPictures:
    """Read two pictures of each of ``people`` people who have two, drawn by ``seed``."""
    order = np.argsort(dataset.labels, kind="stable")
    firsts = np.flatnonzero(np.diff(dataset.labels[order], prepend=-1))
    counts = np.diff(np.append(firsts, len(order)))
    several = firsts[counts >= 2]
    rng = np.random.default_rng(seed)
    crops, sizes, unreadable = [], [], 0
    for first in rng.permutation(several)[:people]:
        number = int(counts[np.searchsorted(firsts, first)])
        chosen = order[first + rng.choice(number, size=2, replace=False)]
        try:
            pair = [images.decode_crop(dataset.read_encoded(int(i)), name=dataset.path_of(int(i))) for i in chosen]
        except (DataError, ImageError):
            unreadable += 1
            continue
        sizes += [(picture.shape[1], picture.shape[0]) for picture in pair]
        crops += [images.resize(picture, (IMAGE_SIZE, IMAGE_SIZE)) for picture in pair]
    stacked = np.stack(crops) if crops else np.empty((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    return SampledPictures(stacked, tuple(sizes), unreadable)


def label_reasons(labels: np.ndarray, num_classes: int) -> Iterator[Obstacle]:
    """Give what the labels alone show.

    Args:
        labels: (N,) integers.
        num_classes: size of the classifier.
    """
    counts = np.unique(labels, return_counts=True)[1]
    people = len(counts)
    if people < num_classes:
        yield Obstacle(
            "empty_classes",
            LIKELY if people < num_classes / 2 else POSSIBLE,
            f"{num_classes - people} of {num_classes} classes have no picture",
            "number the labels without gaps ('arcface-paddle data doctor --fix'), or check --num_classes",
        )
    if counts.mean() < _FEW_PICTURES:
        yield Obstacle(
            "few_pictures",
            LIKELY,
            f"a person has {counts.mean():.1f} pictures on average ({len(labels)} of {people} people)",
            "what makes two pictures one person is learnt from several: 10 and more; or start from --pretrained",
        )
    lone = float((counts == 1).mean())
    if lone > _LONE_SHARE:
        yield Obstacle(
            "lone_pictures",
            LIKELY,
            f"{lone:.0%} of the people have a single picture: nothing pulls their pictures together",
            "leave them out, or take them as strangers in a verification set only",
        )
    if people > 2 and counts.max() > _LARGEST_SHARE * len(labels):
        yield Obstacle(
            "one_large_class",
            LIKELY,
            f"one label has {counts.max()} of {len(labels)} pictures",
            "such a label is often 'unknown' or a failed conversion: look at it, and leave it out",
        )


def picture_reasons(
    sample: SampledPictures, *, embed: Optional[Embed] = None, detector: Optional[Detector] = None
) -> Iterator[Obstacle]:
    """Give what a sample of pictures shows.

    Args:
        sample: see ``sample_pictures``.
        embed: the judge of labels; None leaves them out.
        detector: the judge of alignment; None leaves it out.
    """
    if not len(sample.crops):
        if sample.unreadable:
            yield Obstacle(
                "unreadable_pictures",
                CERTAIN,
                f"not one of {2 * sample.unreadable} pictures that were tried could be read",
                "check --data_dir and --is_bin; 'arcface-paddle data doctor' names the damaged ones",
            )
        return
    yield from _from_pixels(sample)
    misaligned = _alignment(sample, detector) if detector is not None else None
    if misaligned is not None:
        yield misaligned
    if embed is not None:
        yield from _unrelated_labels(sample, embed, aligned=misaligned is None)


def _from_pixels(sample: SampledPictures) -> Iterator[Obstacle]:
    other = [size for size in sample.sizes_wh if size != (IMAGE_SIZE, IMAGE_SIZE)]
    if len(other) > len(sample.sizes_wh) / 10:
        width, height = other[0]
        yield Obstacle(
            "other_sizes",
            POSSIBLE,
            f"{len(other)} of {len(sample.sizes_wh)} pictures are not 112x112 (such as {width}x{height}): stretched",
            "align the photographs: 'arcface-paddle data align'",
        )
    levels = sample.crops.reshape(len(sample.crops), -1).mean(axis=1)
    flat = (sample.crops.reshape(len(sample.crops), -1).std(axis=1) < 4.0) | (levels < _DARK) | (levels > _BRIGHT)
    if flat.mean() > 0.1:
        yield Obstacle(
            "empty_pictures",
            CERTAIN,
            f"{flat.mean():.0%} of the pictures are black, white or of one colour",
            "the conversion went wrong; look at them with 'arcface-paddle data doctor --html page.html'",
        )
    middle = sample.crops[:, 28:84, 28:84].reshape(-1, 3).mean(axis=0)
    if middle[2] > middle[0] + 8:
        yield Obstacle(
            "swapped_channels",
            LIKELY,
            f"faces are bluer ({middle[2]:.0f}) than red ({middle[0]:.0f}), so that the pictures seem to be BGR",
            "write them anew as RGB; a --pretrained network sees skin of a colour that it does not know",
        )


def _alignment(sample: SampledPictures, detector: Detector) -> Optional[Obstacle]:
    """Look for a face in every second picture, with a border around it, and hold its points against the template."""
    distances = []
    looked = sample.crops[::2]
    border = IMAGE_SIZE // 2
    for crop in looked:
        wide = np.pad(crop, ((border, border), (border, border), (0, 0)), mode="edge")
        found = [face for face in detector.detect(wide) if face.landmarks is not None and len(face.landmarks) == 5]
        if found:
            points = np.asarray(found[0].landmarks, dtype=np.float64) - border
            distances.append(float(np.linalg.norm(points - COMMON_TEMPLATE, axis=1).mean()))
    advice = "the networks learn from faces aligned to one template: 'arcface-paddle data align'"
    if len(distances) < _FACES_SHARE * len(looked):
        return Obstacle(
            "no_faces", LIKELY, f"{len(looked) - len(distances)} of {len(looked)} pictures show no face", advice
        )
    median = float(np.median(distances))
    if median <= _ALIGNED_PX:
        return None
    return Obstacle(
        "not_aligned", LIKELY, f"eyes, nose and mouth lie {median:.0f} pixels from their places on average", advice
    )


def _unrelated_labels(sample: SampledPictures, embed: Embed, *, aligned: bool) -> Iterator[Obstacle]:
    features = np.concatenate([embed(sample.crops[i : i + 16]) for i in range(0, len(sample.crops), 16)])
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if len(unit) < 8:
        return
    similarities = unit[::2] @ unit[1::2].T
    same = float(np.diagonal(similarities).mean())
    between = float(similarities[~np.eye(len(similarities), dtype=bool)].mean())
    if same - between >= _UNRELATED_GAP:
        return
    yield Obstacle(
        "unrelated_labels",
        CERTAIN if aligned else POSSIBLE,
        f"by the shipped recogniser, two pictures under one label are hardly more alike ({same:.2f}) than under "
        f"different ones ({between:.2f})",
        "the list of labels has slipped against the pictures (sorted, shuffled or off by one): make it anew, and "
        "check it with 'arcface-paddle data doctor'",
    )
