"""Pictures put together of faces whose places are known: rendered people and the demo photographs, on calm or busy
backgrounds, at any width."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from arcface_paddle import files, images
from arcface_paddle.synthetic.generator import SyntheticFaces, SyntheticImage
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene.background import draw_background

SIZES = ((48, 160), (32, 48), (24, 32), (16, 24), (10, 16))
"""Bands of face widths in pixels, largest first."""

PHOTOGRAPHED = {
    "gallery/Barack Obama/portrait_2012.jpg": (371, 93, 604, 427),
    "gallery/Grace Hopper/portrait_1984.jpg": (178, 128, 355, 336),
    "gallery/Joe Biden/portrait_2013.jpg": (430, 176, 705, 561),
    "queries/biden_relit.jpg": (111, 81, 236, 246),
    "queries/hopper_relit.jpg": (97, 78, 210, 213),
    "queries/obama_blue_room.jpg": (430, 255, 700, 618),
    "queries/obama_speech_2009.jpg": (201, 250, 472, 639),
    "queries/stranger_collins.jpg": (178, 55, 270, 178),
}
"""Faces of the demo photographs, one each: left, top, right, bottom; forehead to chin, ear to ear."""

_MARGIN = 0.7  # of the face's longer side that comes along on each side of a face
_OPEN_FACE_DEG = 35.0  # rendered faces that are turned further, masked or behind a hand are left to other tests
_FRAME_SIZE = 512
_TEXTURE = 1024  # pixels of background that repeat, mirrored, over larger pictures


@dataclass(frozen=True, eq=False)
class Person:
    """A picture of one person.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        box_xyxy: (4,) the face.
        origin: ``"photograph"`` or ``"rendered"``.
    """

    image: np.ndarray
    box_xyxy: np.ndarray
    origin: str


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and its faces.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) float64.
        origins: of each face, see ``Person``.
        kind: ``"calm"`` or ``"busy"``, the background.
    """

    image: np.ndarray
    boxes_xyxy: np.ndarray
    origins: Tuple[str, ...]
    kind: str


def photographed_people(folder: Path) -> List[Person]:
    """Read the demo photographs below ``folder``."""
    return [
        Person(images.load_image(folder / name), np.array(box, np.float64), "photograph")
        for name, box in PHOTOGRAPHED.items()
    ]


def is_open(shown: SyntheticImage) -> bool:
    """Say whether a rendered face can be expected to be found at 16 pixels: neither hidden nor turned away."""
    hidden = {"mask", "hand", "sunglasses"} & set(shown.occluders)
    return not hidden and max(abs(shown.pose.yaw_deg), abs(shown.pose.pitch_deg)) < _OPEN_FACE_DEG


def rendered_people(count: int, *, seed: int) -> List[Person]:
    """Render the first ``count`` open faces of a population, about one a second."""
    faces = SyntheticFaces(seed, size=_FRAME_SIZE, full_frame=True)
    people: List[Person] = []
    number = 0
    while len(people) < count:
        shown = faces.render(number, number % 3)
        number += 1
        if is_open(shown):
            people.append(Person(shown.image, shown.box_xyxy.astype(np.float64), "rendered"))
    return people


def kept_rendered_people(count: int, *, seed: int, folder: Path) -> List[Person]:
    """Do the same, and keep the people in a folder for the next time."""
    path = folder / f"seed{seed}_{count}.npz"
    if not path.is_file():
        people = rendered_people(count, seed=seed)
        folder.mkdir(parents=True, exist_ok=True)
        with files.atomic_writer(path) as kept_file:
            np.savez(kept_file, images=[one.image for one in people], boxes=[one.box_xyxy for one in people])
    with np.load(path) as kept:
        return [Person(image, box, "rendered") for image, box in zip(kept["images"], kept["boxes"])]


def of_every_band(per_band: int) -> List[Tuple[int, int]]:
    """Return the bands of ``SIZES``, each ``per_band`` times: a crowd of all sizes."""
    return [band for band in SIZES for _ in range(per_band)]


def few_bands(count: int, rng: np.random.Generator) -> List[Tuple[int, int]]:
    """Draw the bands of a few faces among those of 16 pixels and more, largest first, so that all find room."""
    drawn = rng.integers(0, len(SIZES) - 1, count)
    return [SIZES[int(index)] for index in np.sort(drawn)]


def compose(
    people: Sequence[Person],
    size_wh: Tuple[int, int],
    *,
    kind: str,
    bands: Sequence[Tuple[int, int]],
    rng: np.random.Generator,
) -> Scene:
    """Paste people into a background, a face for each of ``bands``, so that none touches another.

    Args:
        people: who is drawn from, again and again.
        size_wh: of the picture.
        kind: ``"calm"`` or ``"busy"``.
        bands: the least and greatest width of each face; those for which the picture has no room are left out.
        rng: decides on everything else.
    """
    image = draw_scenery(people, size_wh, kind=kind, rng=rng)
    boxes: List[np.ndarray] = []
    origins: List[str] = []
    taken: List[Tuple[int, int, int, int]] = []
    for low, high in bands:
        person = people[int(rng.integers(len(people)))]
        patch, box = scaled_patch(person, width=float(rng.uniform(low, high)))
        place = _free_place(patch.shape[:2], size_wh, taken, rng)
        if place is None:
            continue
        x, y = place
        image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        taken.append((x, y, x + patch.shape[1], y + patch.shape[0]))
        boxes.append(box + np.array([x, y, x, y]))
        origins.append(person.origin)
    return Scene(image, np.array(boxes).reshape(-1, 4), tuple(origins), kind)


def scaled_patch(person: Person, *, width: float) -> Tuple[np.ndarray, np.ndarray]:
    """Cut out a person's head and shoulders so that the face becomes ``width`` pixels wide; return it and the box."""
    left, top, right, bottom = person.box_xyxy
    margin = _MARGIN * max(right - left, bottom - top)
    x0, y0 = max(0, int(left - margin)), max(0, int(top - margin))
    x1 = min(person.image.shape[1], int(right + margin))
    y1 = min(person.image.shape[0], int(bottom + margin))
    cut = person.image[y0:y1, x0:x1]
    factor = width / (right - left)
    size_wh = (max(1, round(cut.shape[1] * factor)), max(1, round(cut.shape[0] * factor)))
    patch = cv2.resize(cut, size_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    scale = np.array([size_wh[0] / cut.shape[1], size_wh[1] / cut.shape[0]] * 2)
    return patch, (person.box_xyxy - [x0, y0, x0, y0]) * scale


def draw_scenery(
    people: Sequence[Person], size_wh: Tuple[int, int], *, kind: str, rng: np.random.Generator
) -> np.ndarray:
    """Return a picture without faces, (H, W, 3) uint8 RGB: calm as behind a portrait, or busy."""
    tile = _busy_texture(people, rng) if kind == "busy" else _calm_texture(rng)
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[::-1]], axis=0)
    width, height = size_wh
    across, down = -(-width // tile.shape[1]), -(-height // tile.shape[0])
    return np.ascontiguousarray(np.tile(tile, (down, across, 1))[:height, :width])


def _calm_texture(rng: np.random.Generator) -> np.ndarray:
    linear = np.clip(draw_background(rng, _TEXTURE) / 255, 0, 1)
    return (255 * linear ** (1 / 2.2)).astype(np.uint8)


def _busy_texture(people: Sequence[Person], rng: np.random.Generator) -> np.ndarray:
    """Lay hundreds of pieces of photographs that show no face beside each other, with bars and rings over them."""
    texture = _calm_texture(rng)
    for piece in _faceless_pieces(people, rng, count=220):
        y, x = (int(rng.integers(0, _TEXTURE - side + 1)) for side in piece.shape[:2])
        texture[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    for _ in range(60):
        color = [int(value) for value in rng.integers(0, 256, 3)]
        start, end = ([int(value) for value in rng.integers(0, _TEXTURE, 2)] for _ in range(2))
        if rng.random() < 0.5:
            cv2.line(texture, start, end, color, int(rng.integers(1, 7)))
        else:
            cv2.circle(texture, start, int(rng.integers(4, 40)), color, int(rng.integers(1, 5)))
    return texture


def _faceless_pieces(people: Sequence[Person], rng: np.random.Generator, *, count: int) -> Iterator[np.ndarray]:
    made = 0
    while made < count:
        person = people[int(rng.integers(len(people)))]
        height, width = person.image.shape[:2]
        side = int(rng.integers(24, min(240, height, width)))
        y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        left, top, right, bottom = person.box_xyxy
        if x < right and x + side > left and y < bottom and y + side > top:
            continue
        made += 1
        yield person.image[y : y + side, x : x + side]


def _free_place(
    size_hw: Tuple[int, int], size_wh: Tuple[int, int], taken: List[Tuple[int, int, int, int]], rng: np.random.Generator
) -> Optional[Tuple[int, int]]:
    for _ in range(60):
        if size_hw[1] >= size_wh[0] or size_hw[0] >= size_wh[1]:
            return None
        x = int(rng.integers(0, size_wh[0] - size_hw[1]))
        y = int(rng.integers(0, size_wh[1] - size_hw[0]))
        right, bottom = x + size_hw[1], y + size_hw[0]
        if all(x >= box[2] or right <= box[0] or y >= box[3] or bottom <= box[1] for box in taken):
            return x, y
    return None


def scene_stream(seed: int, width: int, number: int) -> np.random.Generator:
    """Return the source of chance of one scene, which depends on nothing else."""
    return stream(seed, "scene", width, number)


def by_band(widths: np.ndarray) -> Dict[str, np.ndarray]:
    """Return for each band, under its label, which of the widths (N,) belong to it."""
    widths = np.clip(widths, SIZES[-1][0], np.nextafter(SIZES[0][1], 0))  # a patch is rounded to whole pixels
    return {
        f"{low}-{high}" if high < SIZES[0][1] else f">={low}": (widths >= low) & (widths < high) for low, high in SIZES
    }
