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


# ---------------------------------------------------------------- to the pixel

FONT = str(drawing.FONT_PATH)


@pytest.mark.parametrize(("box", "width", "rim"), [((10, 15, 60, 45), 3, 1), ((10, 15, 60, 45), 6, 2)])
def test_a_frame_lies_inside_of_its_box_and_its_rim_around_it(box, width, rim):
    canvas = gray(90, 70)
    drawing._draw_box(canvas, box, (1, 2, 3), width=width)
    expected = gray(90, 70)
    expected[15 - rim : 46 + rim, 10 - rim : 61 + rim] = 0
    expected[15:46, 10:61] = (1, 2, 3)
    expected[15 + width : 46 - width, 10 + width : 61 - width] = 90
    np.testing.assert_array_equal(canvas, expected)


def test_a_frame_ends_where_the_picture_does():
    canvas = gray(30, 20)
    drawing._draw_frame(canvas, (-5, -1, 9, 40), (7, 7, 7), width=2)
    expected = gray(30, 20)
    expected[0, :10] = expected[:, 8:10] = 7
    np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ((1.4, 2.6, 9.5, 10.6), (1, 3, 10, 11)),
        ((-9, -3, 30, 40), (0, 0, 19, 29)),
        ((25, 35, 40, 50), (19, 29, 19, 29)),
        ((9, 9, 3, 4), (9, 9, 9, 9)),
    ],
)
def test_boxes_are_rounded_and_clipped(box, visible):
    assert drawing._visible_box(np.array(box, np.float32), (20, 30)) == visible


@pytest.mark.parametrize(
    ("side", "picture_wh", "width"),
    [(300, (640, 480), 2), (10, (640, 480), 1), (30, (3840, 2160), 2), (600, (3840, 2160), 10), (90, (100, 100), 1)],
)
def test_lines_follow_the_picture_and_small_faces_keep_thin_ones(side, picture_wh, width):
    for wider, higher in ((0, 0), (500, 0), (0, 500)):
        assert drawing._line_width((5, 7, 5 + side + wider, 7 + side + higher), picture_wh) == width


@pytest.mark.parametrize(
    ("side", "picture_wh", "size"),
    [
        (60, (640, 480), 12),
        (100, (640, 480), 17),
        (400, (640, 480), 22),
        (9, (3000, 2000), 26),
        (900, (3000, 2000), 90),
    ],
)
def test_text_follows_the_face_within_bounds_of_the_picture(side, picture_wh, size):
    assert drawing._font_size((5, 7, 5 + side, 7 + side), picture_wh) == size
    assert drawing._font_size((5, 7, 5 + side, 507 + side), picture_wh) == size


def fitted(text, width, size=20):
    return drawing._fit_label(text, FONT, box=(0, 0, 9, 9), picture_wh=(width, 99), size=size)


def width_of(text, size):
    return round(max(drawing.load_font(FONT, size).getlength(line) for line in text.split("\n"))) + 2 * (size // 6)


@pytest.mark.parametrize("size", [20, 48])
def test_a_label_that_is_too_wide_gets_smaller_then_two_lines_then_a_short_name(size):
    text, two_lines = "Grace Hopper 0.50", "Grace Hopper\n0.50"
    widths = {at: width_of(text, at) for at in range(9, size + 1)}
    whole = fitted(" Grace \n Hopper  0.50", widths[size], size)
    assert (whole.text, whole.font.size, whole.size_wh[0], whole.padding) == (text, size, widths[size], size // 6)
    step = size // 12
    smaller = fitted(text, widths[size] - 1, size)
    assert (smaller.text, smaller.font.size) == (text, size - step)
    smallest = min(range(size, 8, -step))
    broken = fitted(text, widths[smallest] - 1, size)
    fitting = max(at for at in range(size, 8, -step) if width_of(two_lines, at) <= widths[smallest] - 1)
    assert (broken.text, broken.font.size) == (two_lines, fitting)
    assert fitted(text, width_of(two_lines, smallest), size).text == two_lines
    short = fitted(text, width_of(two_lines, smallest) - 1, size)
    names = [f"{'Grace Hopper'[:count]}…\n0.50" for count in range(11, 0, -1)]
    longest = next(name for name in names if width_of(name, 9) < width_of(two_lines, smallest))
    assert (short.text, short.font.size) == (longest, 9)
    assert fitted(text, width_of("G…\n0.50", 9), size).text == "G…\n0.50"
    assert fitted(text, 5, size).text == "0.50"


def test_a_name_of_which_no_letter_fits_is_left_out():
    assert width_of("W…\n1", 9) > width_of("…\n1", 9)
    assert fitted("WWW 1", width_of("W…\n1", 9)).text == "W…\n1"
    assert fitted("WWW 1", width_of("W…\n1", 9) - 1).text == "1"


def test_a_label_of_one_word_stays_one():
    assert fitted("unknown", width_of("unknown", 9)).text == fitted("unknown", 3).text == "unknown"
    assert fitted("Ada 0.50", 500, size=5).font.size == 5


def test_a_label_is_as_high_as_its_lines():
    for text, lines in (("Ada 0.50", 1), ("Ada\n0.50", 2)):
        label = drawing._measured(text, FONT, 24)
        assert label.size_wh == (width_of(text, 24), lines * sum(label.font.getmetrics()) + 4)
    assert drawing._measured("a", FONT, 3).padding == 1


def test_labels_take_the_places_around_a_face_in_turn():
    box, taken = (100, 100, 160, 180), []
    for _ in range(8):
        taken.append(drawing._place_label((40, 10), box, (400, 300), taken=taken, faces=[]))
    corners = [(100, 90), (100, 181), (161, 100), (60, 100), (100, 100), (100, 171), (121, 90), (121, 181)]
    assert taken == [(x, y, x + 39, y + 9) for x, y in corners]


def test_labels_keep_away_from_other_faces_and_in_the_picture():
    def place(box, faces=(), taken=()):
        return drawing._place_label((40, 10), box, (400, 300), taken=taken, faces=faces)[:2]

    assert place((100, 100, 160, 180), faces=[(95, 60, 200, 99)]) == (100, 181)
    assert place((100, 2, 160, 80)) == (100, 81)  # above, it would cover the face
    assert place((380, 100, 399, 180)) == (360, 90)
    assert place((0, 0, 399, 299)) == (0, 0)
    above, below = (100, 90, 139, 98), (100, 185, 139, 189)
    assert place((100, 100, 160, 180), faces=[above, (60, 181, 200, 190)], taken=[below]) == (161, 100)
    # What another label hides counts four times, a face twice, the face itself once.
    everywhere = [(0, 0, 399, 99), (161, 0, 399, 299), (0, 0, 99, 299)]
    assert place((100, 100, 160, 180), faces=everywhere, taken=[(0, 181, 399, 299)]) == (100, 100)
    assert place((100, 100, 160, 180), faces=everywhere, taken=[(0, 181, 399, 185)]) == (100, 100)
    assert place((100, 100, 160, 180), faces=everywhere, taken=[(0, 189, 399, 299)]) == (100, 181)


def test_overlaps_are_counted_in_pixels():
    assert drawing._overlap((0, 0, 9, 9), (5, 8, 20, 20)) == 5 * 2
    assert drawing._overlap((0, 0, 9, 9), (9, 9, 9, 9)) == 1
    assert drawing._overlap((0, 0, 9, 9), (10, 0, 20, 9)) == drawing._overlap((0, 0, 9, 9), (-5, -5, -3, -3)) == 0


def test_a_label_is_text_on_its_ground_and_nothing_beside_it_changes():
    label = drawing._measured("Ada\n0.50", FONT, 18)
    for left, top in ((20, 30), (0, 0), (300 - label.size_wh[0], 100 - label.size_wh[1])):
        place = (left, top, left + label.size_wh[0] - 1, top + label.size_wh[1] - 1)
        canvas = gray(300, 100)
        drawing._draw_label(canvas, label, place, (255, 255, 0))
        shown = canvas[place[1] : place[3] + 1, place[0] : place[2] + 1].copy()
        assert (shown[[0, -1]] == (255, 255, 0)).all() and (shown[:, [0, -1]] == (255, 255, 0)).all()
        line = sum(label.font.getmetrics())
        dark = (shown == 0).all(axis=2)
        assert dark[:line].any() and dark[line:].any()
        columns = np.flatnonzero(dark.any(axis=0))
        assert columns[0] >= label.padding and columns[-1] < label.size_wh[0] - label.padding + 1
        canvas[place[1] : place[3] + 1, place[0] : place[2] + 1] = 90
        np.testing.assert_array_equal(canvas, gray(300, 100))


def test_the_colour_of_text_is_that_of_the_higher_contrast():
    steps = np.arange(0, 256, 15)
    for color in np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)[::7]:
        shares = color / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        on_black, on_white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
        assert text_color_on(tuple(color.tolist())) == ((0, 0, 0) if on_black > on_white else (255, 255, 255))
