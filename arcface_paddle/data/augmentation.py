"""Random changes of training pictures: (H, W, 3) uint8 RGB in, the same shape and type out.

What happens to a picture follows from its key alone, which is a function of (seed, epoch, sample), see
``epoch_order.augment_keys``. So a resumed run, and one with another number of workers or ranks, sees the same pixels.
Each step draws from a stream of its own: to add or take away one leaves what the others draw as it is.

What a name means, and what its strength is, stands in ``augment_settings.STEPS``.
"""

from __future__ import annotations

import math
import zlib
from typing import Callable, Sequence

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.data.augment_settings import CCROP_SIDE, Step
from arcface_paddle.data.data_settings import IMAGE_SIZE
from arcface_paddle.data.epoch_order import splitmix64

_MASK = 2**64 - 1
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_CROP_ASPECT = 4 / 3  # width to height of a kept crop, at most, as in AdaFace
_ERASE_ASPECT = 1 / 0.3  # of an erased rectangle (Zhong et al. 2017, "Random erasing data augmentation")
_VALUES = np.arange(256)


class Draws:
    """Random numbers of one step for one picture: SplitMix64 from a key, see ``epoch_order``."""

    def __init__(self, key: int, name: str) -> None:
        """Begin the stream of the step ``name``."""
        self._state = (key ^ zlib.crc32(name.encode()) * _GOLDEN) & _MASK
        self._state = self._next()  # or neighbouring keys would begin neighbouring streams

    def uniform(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * (self._next() >> 11) * 2.0**-53

    def below(self, count: int) -> int:
        """Return an integer from 0 to ``count - 1``."""
        return self._next() % count

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of random uint8."""
        size = math.prod(shape)
        words = splitmix64(np.arange((size + 7) // 8, dtype=np.uint64), np.uint64(self._next()))
        return words.astype("<u8").view(np.uint8)[:size].reshape(shape)

    def _next(self) -> int:
        self._state = (self._state + _GOLDEN) & _MASK
        mixed = self._state
        mixed = (mixed ^ mixed >> 30) * _MIX1 & _MASK
        mixed = (mixed ^ mixed >> 27) * _MIX2 & _MASK
        return mixed ^ mixed >> 31


class Augmentation:
    """A list of steps; can be sent to worker processes."""

    def __init__(self, steps: Sequence[Step], *, ccrop: bool = False) -> None:
        """Take the steps, in the order in which they are done, and whether ``centre_crop`` comes before them."""
        self._steps = tuple(steps)
        self._ccrop = ccrop

    def __call__(self, image: np.ndarray, key: int, strength: float = 1.0) -> np.ndarray:
        """Return the picture that the key makes of ``image``, which is left as it is.

        Args:
            image: (H, H, 3) uint8 RGB.
            key: 0 to 2**64 - 1.
            strength: factor on the probability of each step, 0 to 1; what is done to a picture at one strength is done
                to it at every larger one.
        """
        if self._ccrop:
            image = centre_crop(image)
        for step in self._steps:
            draws = Draws(key, step.name)
            if draws.uniform(0.0, 1.0) < step.probability * strength:
                image = CHANGES[step.name](image, draws, step.low, step.high)
        return image


def centre_crop(image: np.ndarray) -> np.ndarray:
    """Enlarge a crop of 112 to 128 pixels and cut 112 out of its middle (of another size: in proportion).

    Args:
        image: (H, H, 3) uint8 RGB.

    Returns:
        The same shape.
    """
    size = image.shape[0]
    side = round(size * CCROP_SIDE / IMAGE_SIZE)
    begin = (side - size) // 2
    return np.ascontiguousarray(images.resize(image, (side, side))[begin : begin + size, begin : begin + size])


def scale_values(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all values by ``factor``."""
    return cv2.LUT(image, _as_bytes(_VALUES * factor))


def scale_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply each value's distance to the picture's mean grey by ``factor``."""
    mean = float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
    return cv2.LUT(image, _as_bytes(mean + (_VALUES - mean) * factor))


def scale_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply each pixel's distance to its grey by ``factor``."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _crop(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    size = image.shape[0]
    side = max(size, round(size * draws.uniform(low, high) / IMAGE_SIZE))
    top, left = draws.below(side - size + 1), draws.below(side - size + 1)
    return np.ascontiguousarray(images.resize(image, (side, side))[top : top + size, left : left + size])


def _rectangle(image: np.ndarray, draws: Draws, low: float, high: float, *, most_aspect: float) -> tuple[slice, slice]:
    """Draw rows and columns of a rectangle by its share of the area and its ratio of sides; cut off at the edges."""
    height, width = image.shape[:2]
    area = draws.uniform(low, high) * height * width
    aspect = math.exp(draws.uniform(-math.log(most_aspect), math.log(most_aspect)))
    rows = min(height, max(1, round(math.sqrt(area / aspect))))
    columns = min(width, max(1, round(math.sqrt(area * aspect))))
    top, left = draws.below(height - rows + 1), draws.below(width - columns + 1)
    return slice(top, top + rows), slice(left, left + columns)


def _crop_black(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    rows, columns = _rectangle(image, draws, low, high, most_aspect=_CROP_ASPECT)
    kept = np.zeros_like(image)
    kept[rows, columns] = image[rows, columns]
    return kept


def _erase(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    rows, columns = _rectangle(image, draws, low, high, most_aspect=_ERASE_ASPECT)
    erased = image.copy()
    erased[rows, columns] = draws.noise(erased[rows, columns].shape)
    return erased


def _tilt(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    degrees = draws.uniform(low, high) * (1 - 2 * draws.below(2))
    middle = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    return _warped(image, cv2.getRotationMatrix2D(middle, degrees, 1.0))


def _zoom(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    height, width = image.shape[:2]
    place = draws.uniform(0, width - 1), draws.uniform(0, height - 1)
    factor = math.exp(draws.uniform(math.log(low), math.log(high)))
    return _warped(image, cv2.getRotationMatrix2D(place, 0.0, factor))


def _warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _noise(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    # The sum of four even bytes is nearly normal: mean 510, variance 4 (256^2 - 1) / 12.
    summed = draws.noise((4, *image.shape)).sum(axis=0, dtype=np.int32) - 510
    return _as_bytes(image + summed * (draws.uniform(low, high) / math.sqrt(4 * (256**2 - 1) / 12)))


def _motion_blur(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    length, angle = draws.uniform(low, high), draws.uniform(0, math.pi)
    half = math.ceil(length / 2)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    reach = (length - 1) / 2
    for along in np.linspace(-reach, reach, 4 * half + 1):
        kernel[half + round(along * math.sin(angle)), half + round(along * math.cos(angle))] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _brightness(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    return scale_values(image, draws.uniform(low, high))


def _brightness_shift(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    amount = 255 * draws.uniform(low, high) * (1 - 2 * draws.below(2))
    return cv2.LUT(image, _as_bytes(_VALUES + amount))


def _contrast(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    return scale_contrast(image, draws.uniform(low, high))


def _saturation(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    return scale_saturation(image, draws.uniform(low, high))


def _photometric(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    changes = [scale_values, scale_contrast, scale_saturation]
    while changes:
        image = changes.pop(draws.below(len(changes)))(image, draws.uniform(low, high))
    return image


def _low_resolution(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    size = image.shape[0]
    side = max(1, int(size * draws.uniform(low, high)))
    down, up = (_INTERPOLATIONS[draws.below(len(_INTERPOLATIONS))] for _ in range(2))
    return cv2.resize(cv2.resize(image, (side, side), interpolation=down), (size, size), interpolation=up)


def _compression(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    return images.recompress(image, quality=round(draws.uniform(low, high)))


def _blur(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), draws.uniform(low, high))


def _grey(image: np.ndarray, draws: Draws, low: float, high: float) -> np.ndarray:
    return scale_saturation(image, 1 - draws.uniform(low, high))


Change = Callable[[np.ndarray, Draws, float, float], np.ndarray]

CHANGES: dict[str, Change] = {
    "crop": _crop,
    "tilt": _tilt,
    "zoom": _zoom,
    "crop_black": _crop_black,
    "brightness": _brightness,
    "brightness_shift": _brightness_shift,
    "contrast": _contrast,
    "saturation": _saturation,
    "photometric": _photometric,
    "low_resolution": _low_resolution,
    "compression": _compression,
    "noise": _noise,
    "motion_blur": _motion_blur,
    "blur": _blur,
    "grey": _grey,
    "erase": _erase,
}
"""What each name of ``augment_settings.STEPS`` does."""
