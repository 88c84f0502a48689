"""Drawing: labels stay in the picture, can be read, and no name or box makes it fail."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import drawing
from arcface_paddle.pipeline.drawing import assign_colors, color_of, draw_faces, label_text, text_color_on
from arcface_paddle.types import UNKNOWN, Detection, Face

NAMES = [
    "Barack Obama",
    "王小明",
    "喆堃赟頔",
    "Ωмега",
    "unknown",
    "😀",
    "a\ud83d",
    "x" * 200,
    "two\nlines",
    "欧阳" * 30,
]


def face(box, name="Ada", similarity=0.5) -> Face:
    return Face(Detection(np.array(box, np.float32), 0.9), name=name, similarity=similarity)


def gray(width, height) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def changed_rows_and_columns(before, after):
    rows, columns = np.nonzero((before != after).any(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (100, 100), (640, 480), (2000, 20), (3840, 2160)])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_on_any_picture(size, name):
    picture = gray(*size)
    box = (size[0] * 0.2, size[1] * 0.2, size[0] * 0.7, size[1] * 0.8)
    drawn = draw_faces(picture, [face(box, name)])
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    assert (drawn != picture).any()
    assert (picture == 90).all(), "the given picture must stay as it was"


@pytest.mark.parametrize(
    "box", [(-50, -50, 30, 30), (600, 440, 700, 500), (-10, 100, 700, 300), (640, 480, 640, 480), (5, 5, 5, 5),
            (50, 50, 10, 10)])  # fmt: skip
def test_boxes_at_and_over_the_border(box):
    assert (draw_faces(gray(640, 480), [face(box)]) != 90).any()


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (580, 0, 639, 60), (0, 420, 60, 479), (580, 420, 639, 479)])
def test_labels_of_faces_in_the_corners_stay_whole(box):
    label = drawing._fit_label("Grace Hopper 0.50", str(drawing.FONT_PATH), box=box, picture_wh=(640, 480))
    place = drawing._place_label(label.size_wh, box, (640, 480), taken=[], faces=[])
    assert place[0] >= 0 and place[1] >= 0 and place[2] < 640 and place[3] < 480
    assert drawing._overlap(place, box) == 0


def test_labels_of_a_crowd_do_not_cover_each_other():
    boxes = [(40 + 95 * x, 60 + 120 * y, 100 + 95 * x, 130 + 120 * y) for y in range(3) for x in range(6)]
    taken = []
    for box in boxes:
        label = drawing._fit_label("Chandler 0.60", str(drawing.FONT_PATH), box=box, picture_wh=(640, 480))
        place = drawing._place_label(label.size_wh, box, (640, 480), taken=taken, faces=boxes)
        assert all(drawing._overlap(place, other) == 0 for other in taken)
        taken.append(place)


@pytest.mark.parametrize("width", [100, 500, 1920, 3840, 7680])
def test_text_grows_with_the_picture(width):
    size = drawing._font_size((0, 0, width // 20, width // 20), (width, width * 9 // 16))
    assert size >= 12 and size >= 0.012 * width * 9 / 16


def test_chinese_characters_are_in_the_font():
    """A character the font lacks is drawn as the empty box; these must not look like it."""
    font = drawing.load_font(str(drawing.FONT_PATH), 32)
    missing = bytes(font.getmask("\uffff"))
    for character in "张伟王芳李娜劉德華陳奕迅堃赟頔喆é":
        assert bytes(font.getmask(character)) != missing, character


def lab(colors) -> np.ndarray:
    return cv2.cvtColor(np.array(colors, np.float32).reshape(-1, 1, 3) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)


def least_distance(colors) -> float:
    """Return the least distance between two of the colours, in Lab (CIE 1976)."""
    places = lab(colors)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    return float(distances[~np.eye(len(places), dtype=bool)].min())


def test_people_of_one_gallery_differ_clearly():
    people = [f"person {i:02}" for i in range(24)]
    colors = list(assign_colors(reversed(people)).values())
    assert len(set(colors)) == 24
    assert least_distance(colors[:6]) > 45 and least_distance(colors[:12]) > 30 and least_distance(colors) > 17
    names = ["Ada", "Barbara", "Chandler", "Grace", "Joey", "Ross"]
    assert least_distance(list(assign_colors(names).values())) > 45


def test_nobody_who_is_known_is_red_or_grey():
    places = lab(drawing.PALETTE)
    hue, chroma = np.degrees(np.arctan2(places[:, 2], places[:, 1])) % 360, np.hypot(places[:, 1], places[:, 2])
    assert ((hue > 60) & (hue < 346)).all(), "red and orange-red lie around 40 degrees"
    assert (chroma > 35).all()
    assert least_distance([*drawing.PALETTE[:2], drawing.UNKNOWN_COLOR]) > 45


def test_colours_follow_the_gallery_and_strangers_are_grey():
    colors = assign_colors(["Grace", "Ada", UNKNOWN, None, "Ada"])
    assert colors == {"Ada": drawing.PALETTE[0], "Grace": drawing.PALETTE[1]}
    assert color_of("Grace", colors) == drawing.PALETTE[1]
    assert color_of(UNKNOWN, colors) == drawing.UNKNOWN_COLOR
    assert color_of(None, colors) == drawing.PALETTE[0]
    alone = draw_faces(gray(400, 400), [face((100, 150, 200, 260), "Grace")], colors=colors)
    np.testing.assert_array_equal(alone[200, 100], drawing.PALETTE[1])


def test_without_a_gallery_those_in_the_picture_differ():
    faces = [face((20, 200, 100, 300), "Grace"), face((200, 200, 300, 300), "Ada"), face((320, 200, 390, 300), UNKNOWN)]
    drawn = draw_faces(gray(400, 400), faces)
    shown = [tuple(drawn[250, x].tolist()) for x in (20, 200, 320)]
    assert shown == [drawing.PALETTE[1], drawing.PALETTE[0], drawing.UNKNOWN_COLOR]


@pytest.mark.parametrize("ground_color", [*drawing.PALETTE, drawing.UNKNOWN_COLOR])
def test_text_stands_out_from_its_ground(ground_color):
    def luminance(color):
        linear = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    ground = luminance(ground_color)
    text = luminance(text_color_on(ground_color))
    contrast = (max(ground, text) + 0.05) / (min(ground, text) + 0.05)
    assert contrast >= 4.5  # WCAG 2.1 AA


def test_label_says_the_similarity_and_not_the_detection_score():
    assert label_text(face((0, 0, 1, 1), "Ada", 0.62)) == "Ada 0.62"
    assert label_text(Face(Detection(np.zeros(4, np.float32), 0.91))) == "face 0.91"
    assert label_text(face((0, 0, 1, 1), UNKNOWN, None)) == UNKNOWN
    assert label_text(face((0, 0, 1, 1), "Ada", -0.2)) == "Ada -0.20"


def test_no_faces_no_change():
    np.testing.assert_array_equal(draw_faces(gray(50, 50), []), gray(50, 50))


def test_box_is_drawn_where_the_face_is():
    drawn = draw_faces(gray(400, 400), [face((100, 150, 200, 260))])
    top, bottom, left, right = changed_rows_and_columns(gray(400, 400), drawn)
    assert 97 <= left <= 100 and 260 <= bottom <= 263 and right >= 200 and top < 150
    np.testing.assert_array_equal(drawn[200, 100], drawing.PALETTE[0])


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_text("no font"), lambda p: p.mkdir()])
def test_bad_font_is_a_clear_error_even_without_faces(tmp_path, make):
    make(tmp_path / "font.ttf")
    with pytest.raises(ConfigError, match=r"font\.ttf"):
        draw_faces(gray(50, 50), [], font_path=tmp_path / "font.ttf")


def test_a_font_of_the_user_is_used(tmp_path):
    (tmp_path / "mine.ttf").write_bytes(drawing.FONT_PATH.read_bytes())
    drawn = draw_faces(gray(200, 200), [face((50, 50, 150, 150))], font_path=tmp_path / "mine.ttf")
    np.testing.assert_array_equal(drawn, draw_faces(gray(200, 200), [face((50, 50, 150, 150))]))
