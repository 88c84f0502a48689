"""Boxes and names on pictures, legible from 100 pixels to 8K.

The size of a label follows the face and the picture. Its place is the one around the box that covers least of other
faces and labels. Its colour follows the place of the name in the gallery, so that the people of one gallery differ
clearly and keep their colours in every picture. Its text is black or white, whichever stands out. Names may be
Chinese: the package brings a font.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, Mapping, Optional, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from arcface_paddle import files
from arcface_paddle.errors import ConfigError
from arcface_paddle.types import UNKNOWN, Face

FONT_PATH = Path(__file__).parents[1] / "assets" / "WenQuanYiMicroHei-subset.ttf"

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

UNKNOWN_COLOR: Color = (170, 170, 170)

PALETTE: tuple[Color, ...] = (
    (0, 150, 255), (240, 240, 0), (210, 0, 150), (0, 135, 90), (75, 255, 255), (150, 105, 0),
    (225, 180, 255), (255, 180, 120), (0, 240, 120), (105, 90, 225), (135, 165, 45), (255, 75, 255),
    (0, 195, 240), (45, 180, 165), (210, 165, 0), (210, 240, 165), (90, 120, 30), (150, 105, 165),
    (150, 150, 255), (255, 225, 150), (30, 180, 105), (240, 135, 195), (150, 225, 0), (195, 0, 240),
)  # fmt: skip
"""Colours of known people, in the order in which they are given out.

Each is the one farthest (CIEDE2000) from all before it, among the colours of Lab that are bright enough for a thin line
(L 46 to 92) and neither red, which reads as an alarm, nor near the grey of strangers. Any two of the first six are 36
apart, of the first twelve 19, of all 14; below 10, colours are taken for shades of one.
"""

_SMALLEST_FONT = 9  # px; below it Chinese characters run together
_USUAL_FONT = 12  # px; least size where there is room
_FONT_PER_FACE = 0.17  # of the shorter side of the box
_FONT_PER_PICTURE = (0.013, 0.045)  # least and most, of the shorter side of the picture
_LINE_PER_PICTURE = 1 / 220
_LINE_PER_FACE = 1 / 30


@dataclass(frozen=True)
class _Label:
    """Text with the size that it takes, padding included."""

    text: str
    font: ImageFont.FreeTypeFont
    size_wh: tuple[int, int]
    padding: int


@dataclass(frozen=True)
class LabelStyle:
    """What labels say, and how large.

    Attributes:
        font_size: in pixels; None follows face and picture. A label that the picture cannot hold is smaller.
        unknown: what strangers are called.
        distance: makes of a similarity the number beside the name; None for the similarity itself.
    """

    font_size: Optional[int] = None
    unknown: str = UNKNOWN
    distance: Optional[Callable[[float], float]] = None


USUAL_STYLE = LabelStyle()


def draw_faces(
    image: np.ndarray,
    faces: Sequence[Face],
    *,
    font_path: Optional[files.PathLike] = None,
    colors: Optional[Mapping[str, Color]] = None,
    style: LabelStyle = USUAL_STYLE,
) -> np.ndarray:
    """Return a copy of the picture with a box and a label for every face.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: what was found; boxes may reach outside of the picture.
        colors: ``assign_colors`` of the gallery's names, so that a person has the same colour in every picture; None
            to tell apart only those who are in this one.
        font_path: TrueType or OpenType font; None takes the one of the package. A character that it lacks is drawn
            as an empty box.
        style: what labels say.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: the font cannot be read.
    """
    path = str(font_path or FONT_PATH)
    load_font(path, _USUAL_FONT)
    canvas, picture_wh = np.array(image), (image.shape[1], image.shape[0])
    boxes = [_visible_box(face.detection.box_xyxy, picture_wh) for face in faces]
    known = assign_colors(face.name for face in faces) if colors is None else colors
    painted = [color_of(face.name, known) for face in faces]
    for color, box in zip(painted, boxes):
        _draw_box(canvas, box, color, width=_line_width(box, picture_wh))
    taken: list[Rectangle] = []
    for face, box, color in zip(faces, boxes, painted):
        label = _fit_label(label_text(face, style), path, box=box, picture_wh=picture_wh, size=style.font_size)
        others = [other for other in boxes if other is not box]
        place = _place_label(label.size_wh, box, picture_wh, taken=taken, faces=others)
        taken.append(place)
        _draw_label(canvas, label, place, color)
    return canvas


def label_text(face: Face, style: LabelStyle = USUAL_STYLE) -> str:
    """Return what is written at a face: name and similarity, or ``face`` and detection score without a gallery."""
    if face.name is None:
        return f"face {face.detection.score:.2f}"
    name = style.unknown if face.name == UNKNOWN else face.name
    if face.similarity is None:
        return name
    return f"{name} {face.similarity if style.distance is None else style.distance(face.similarity):.2f}"


def assign_colors(names: Iterable[Optional[str]]) -> dict[str, Color]:
    """Give the people of a gallery colours that differ clearly, in the order of their sorted names.

    From the 25th name on colours repeat: more than a palette of 24 cannot be told apart at a glance.
    """
    known = sorted({name for name in names if name is not None and name != UNKNOWN})
    return {name: PALETTE[rank % len(PALETTE)] for rank, name in enumerate(known)}


def color_of(name: Optional[str], colors: Mapping[str, Color]) -> Color:
    """Return the RGB colour of a name: the one assigned to it, grey for strangers, the first where nobody was named."""
    if name == UNKNOWN:
        return UNKNOWN_COLOR
    return PALETTE[0] if name is None else colors.get(name, PALETTE[0])


def text_color_on(background: Color) -> Color:
    """Return black or white, whichever has the higher contrast (WCAG relative luminance)."""
    linear = [(v / 255 / 12.92) if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 0.05 * 1.05 else (255, 255, 255)


@functools.lru_cache(maxsize=64)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Return the font at ``path`` in ``size`` pixels.

    Raises:
        ConfigError: no such file, or not a font.
    """
    try:
        return ImageFont.truetype(path, size)
    except OSError as error:
        reason = "no such file" if not Path(path).is_file() else f"not a TrueType or OpenType font ({error})"
        raise ConfigError(f"font {path}: {reason}") from None


def _visible_box(box_xyxy: np.ndarray, picture_wh: tuple[int, int]) -> Rectangle:
    """Round a box to whole pixels, clip it to the picture and keep it at least one pixel large."""
    width, height = picture_wh
    left, top, right, bottom = (round(float(value)) for value in box_xyxy)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = min(max(right, left), width - 1), min(max(bottom, top), height - 1)
    return left, top, right, bottom


def _line_width(box: Rectangle, picture_wh: tuple[int, int]) -> int:
    """Follow the picture, but let a small face keep thin lines."""
    face_side = min(box[2] - box[0], box[3] - box[1])
    return max(1, min(round(min(picture_wh) * _LINE_PER_PICTURE), 1 + round(face_side * _LINE_PER_FACE)))


def _draw_box(canvas: np.ndarray, box: Rectangle, color: Color, *, width: int) -> None:
    rim = max(1, width // 3)  # a dark rim keeps the box visible on a background of its own colour
    _draw_frame(canvas, (box[0] - rim, box[1] - rim, box[2] + rim, box[3] + rim), (0, 0, 0), width=rim)
    _draw_frame(canvas, box, color, width=width)


def _draw_frame(canvas: np.ndarray, box: Rectangle, color: Color, *, width: int) -> None:
    """Draw four lines along the inside of a box, its last row and column included, as far as the picture reaches."""
    left, top, right, bottom = box[0], box[1], box[2] + 1, box[3] + 1
    for rows in ((top, top + width), (bottom - width, bottom)):
        canvas[_inside(*rows), _inside(left, right)] = color
    for columns in ((left, left + width), (right - width, right)):
        canvas[_inside(top, bottom), _inside(*columns)] = color


def _inside(start: int, end: int) -> slice:
    return slice(max(start, 0), max(end, 0))


def _font_size(box: Rectangle, picture_wh: tuple[int, int]) -> int:
    shorter = min(picture_wh)
    face_side = min(box[2] - box[0], box[3] - box[1])
    least, most = (max(_USUAL_FONT, round(shorter * part)) for part in _FONT_PER_PICTURE)
    return min(max(round(face_side * _FONT_PER_FACE), least), most)


def _fit_label(
    text: str, font_path: str, *, box: Rectangle, picture_wh: tuple[int, int], size: Optional[int] = None
) -> _Label:
    """Make a label that the picture can hold: first smaller, then in two lines, then with the name cut short."""
    text = " ".join(text.split())
    size = size or _font_size(box, picture_wh)
    name, _, number = text.rpartition(" ")
    in_two_lines = f"{name}\n{number}" if name else text
    for candidate in (text, in_two_lines):
        for smaller in range(size, min(size, _SMALLEST_FONT) - 1, -max(1, size // 12)):
            label = _measured(candidate, font_path, smaller)
            if label.size_wh[0] <= picture_wh[0]:
                return label
    while len(name) > 1:
        name = name[:-1]
        label = _measured(f"{name}…\n{number}", font_path, _SMALLEST_FONT)
        if label.size_wh[0] <= picture_wh[0]:
            return label
    return _measured(number, font_path, _SMALLEST_FONT)


def _measured(text: str, font_path: str, size: int) -> _Label:
    font = load_font(font_path, size)
    lines = text.split("\n")
    padding = max(1, size // 6)
    ascent, descent = font.getmetrics()
    width = max(round(font.getlength(line)) for line in lines) + 2 * padding
    return _Label(text, font, (width, len(lines) * (ascent + descent) + padding), padding)


def _place_label(
    size_wh: tuple[int, int],
    box: Rectangle,
    picture_wh: tuple[int, int],
    *,
    taken: Sequence[Rectangle],
    faces: Sequence[Rectangle],
) -> Rectangle:
    """Choose the place around the box, inside of the picture, that hides least of what matters."""
    left, top, right, bottom = box
    width, height = size_wh
    corners = (
        (left, top - height),
        (right - width + 1, top - height),
        (left, bottom + 1),
        (right - width + 1, bottom + 1),
        (right + 1, top),
        (left - width, top),
        (left, top),
        (left, bottom - height + 1),
    )
    best: Optional[Rectangle] = None
    least = float("inf")
    for x, y in corners:
        x = max(0, min(x, picture_wh[0] - width))
        y = max(0, min(y, picture_wh[1] - height))
        place = (x, y, x + width - 1, y + height - 1)
        cost = 4.0 * sum(_overlap(place, other) for other in taken)
        cost += 2.0 * sum(_overlap(place, other) for other in faces) + _overlap(place, box)
        if cost < least:
            best, least = place, cost
    assert best is not None
    return best


def _overlap(one: Rectangle, other: Rectangle) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    return max(width, 0) * max(height, 0)


def _draw_label(canvas: np.ndarray, label: _Label, place: Rectangle, color: Color) -> None:
    """Draw a label. Only the pixels around it become a picture of Pillow's and come back: for a whole one of 720p that
    takes 7 ms."""
    spare = 2 * label.padding + 2  # of letters that reach beyond the label
    rows, columns = _inside(place[1] - spare, place[3] + spare + 1), _inside(place[0] - spare, place[2] + spare + 1)
    part = Image.fromarray(canvas[rows, columns])
    pen = ImageDraw.Draw(part)
    left, top = place[0] - columns.start, place[1] - rows.start
    pen.rectangle((left, top, left + place[2] - place[0], top + place[3] - place[1]), fill=color)
    line_height = sum(label.font.getmetrics())
    for number, line in enumerate(label.text.split("\n")):
        position = (left + label.padding, top + label.padding // 2 + number * line_height)
        pen.text(position, line, fill=text_color_on(color), font=label.font)
    canvas[rows, columns] = np.array(part)
