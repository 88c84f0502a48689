"""The parts of CenterFace's search by hand: what maps say, where windows and patches lie, which finds are one face."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np
import pytest

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.cards import InputSpec, ScanSpec
from arcface_paddle.pipeline.detection import centerface, small_patches
from arcface_paddle.pipeline.detection.centerface import CenterFaceDetector, _Noticed
from arcface_paddle.pipeline.detection.centerface_maps import decode_batch, decode_maps, small_peaks
from arcface_paddle.pipeline.detection.scanning import Piece
from arcface_paddle.pipeline.detection.second_look import SecondLook, _row_in_picture
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.types import Detection

INPUT = InputSpec((96, 96), "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
STRIDE = 4
FACE = np.array([[10, 12], [26, 12], [18, 20], [12, 28], [24, 28]], float)  # five points of a face of 36 x 40 pixels


class Maps:
    """Stands in for the network: gives maps on which each picture of a batch shows the same faces.

    Attributes:
        inputs: what it was given.
    """

    input_names, output_names = ("image",), ("heat", "size", "offset", "landmarks")

    def __init__(self, faces: Sequence[tuple[Sequence[float], float]], *, eyes_rad: Optional[float] = None) -> None:
        self.inputs: list[np.ndarray] = []
        self._faces, self._eyes_rad = faces, eyes_rad

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.inputs.append(inputs[0])
        count, _, height, width = inputs[0].shape
        maps = [
            np.zeros((count, channels, height // STRIDE, width // STRIDE), np.float32) for channels in (1, 2, 2, 10)
        ]
        maps[0][:] = -20
        for box, score in self._faces:
            put(maps, np.asarray(box, float), score)
        if self._eyes_rad is not None:
            half = 0.2 * np.array([np.sin(self._eyes_rad), np.cos(self._eyes_rad)])
            maps[3][:, :4] = np.concatenate([0.5 - half, 0.5 + half])[:, None, None]
        return maps


def put(maps: list[np.ndarray], box: np.ndarray, score: float) -> None:
    """Write a face of points ``FACE`` in its box into maps."""
    width, height = box[2:] - box[:2]
    x, y = (box[:2] + box[2:]) / 2 / STRIDE
    column, row = int(x), int(y)
    maps[0][:, 0, row, column] = np.log(score / (1 - score))
    maps[1][:, :, row, column] = np.log([height / STRIDE, width / STRIDE])
    maps[2][:, :, row, column] = [y - row - 0.5, x - column - 0.5]
    maps[3][:, :, row, column] = (FACE / [36, 40])[:, ::-1].reshape(-1)


def face_row(box: Sequence[float], score: float = 0.9) -> np.ndarray:
    low, high = np.asarray(box[:2], float), np.asarray(box[2:], float)
    return np.concatenate([low, high, [score], (FACE / [36, 40] * (high - low) + low).reshape(-1)])


def random_maps(pictures: int) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.normal(size=(pictures, channels, 5, 7)).astype(np.float32) for channels in (1, 2, 2, 10)]


def row_by_hand(maps: list[np.ndarray], place: tuple[int, int, int]) -> list[float]:
    picture, row, column = place
    heat, size, offset, points = (one[picture, :, row, column].astype(float) for one in maps)
    height, width = STRIDE * np.exp(size)
    left = STRIDE * (column + offset[1] + 0.5) - width / 2
    top = STRIDE * (row + offset[0] + 0.5) - height / 2
    shown = [(left + width * points[2 * n + 1], top + height * points[2 * n]) for n in range(5)]
    return [left, top, left + width, top + height, 1 / (1 + np.exp(-heat[0])), *np.ravel(shown)]


def test_maps_are_decoded_as_by_hand() -> None:
    maps = random_maps(2)
    places = [(n, row, column) for n in range(2) for row in range(5) for column in range(7)]
    chosen = sorted(
        (p for p in places if maps[0][p[0], 0, p[1], p[2]] >= 0), key=lambda p: -maps[0][p[0], 0, p[1], p[2]]
    )
    rows, pictures = decode_batch(maps, stride=STRIDE, threshold=0.5)
    assert pictures.tolist() == [picture for picture, _, _ in chosen]
    np.testing.assert_allclose(rows, [row_by_hand(maps, place) for place in chosen], rtol=1e-6)
    assert len(decode_maps(maps, stride=STRIDE, threshold=1.0)) == 0


def test_peaks_are_faint_small_and_higher_than_all_around() -> None:
    maps = random_maps(1)
    heat = np.pad(maps[0][0, 0], 1, constant_values=-np.inf)
    expected = []
    for row in range(5):
        for column in range(7):
            here, width = maps[0][0, 0, row, column], STRIDE * np.exp(maps[1][0, 1, row, column])
            is_peak = here == heat[row : row + 3, column : column + 3].max()
            if is_peak and 0.3 <= 1 / (1 + np.exp(-float(here))) < 0.9 and width < 6:
                expected.append(row_by_hand(maps, (0, row, column)))
    expected.sort(key=lambda row: -row[4])
    assert len(expected) > 1
    asked = {"stride": STRIDE, "widest": 6.0}
    np.testing.assert_allclose(small_peaks(maps, scores=(0.3, 0.9), most=99, **asked), expected, rtol=1e-6)
    np.testing.assert_allclose(small_peaks(maps, scores=(0.3, 0.9), most=1, **asked), expected[:1], rtol=1e-6)


@pytest.mark.parametrize(
    "change", [lambda maps: maps[:3], lambda maps: [*maps[:3], maps[3][:, :8]], lambda maps: maps[::-1]]
)
def test_other_maps_are_refused(change) -> None:
    with pytest.raises(ModelFileError, match="its card promises others"):
        decode_maps(change(random_maps(1)), stride=STRIDE, threshold=0.5)


# ---------------------------------------------------------------- windows


def look(
    faces: Sequence[tuple[Sequence[float], float]], *, eyes_rad: Optional[float] = None
) -> tuple[SecondLook, Maps]:
    maps = Maps(faces, eyes_rad=eyes_rad)
    return SecondLook(maps, INPUT, ScanSpec(), stride=STRIDE), maps


@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_what_a_window_shows_comes_back_to_its_place(angle: float, mirror: int) -> None:
    place = face_row([100, 200, 172, 280])
    window = look([])[0]._window(place, angle, mirror=mirror)
    middle = window.transform @ [136, 240, 1]
    np.testing.assert_allclose(middle, [48, 48])
    points = place[5:].reshape(5, 2) @ window.transform[:, :2].T + window.transform[:, 2]
    points = points[[1, 0, 2, 4, 3]] if mirror < 0 else points
    width, height = 44.0, 44 * 80 / 72
    shown = np.array([48 - width / 2, 48 - height / 2, 48 + width / 2, 48 + height / 2, 0.7, *points.reshape(-1)])
    back = _row_in_picture(shown, window, mirror=mirror)
    np.testing.assert_allclose(back[4:], [0.7, *place[5:]])
    across = 72 * np.cos(angle) ** 2 + 80 * np.sin(angle) ** 2
    down = 80 * np.cos(angle) ** 2 + 72 * np.sin(angle) ** 2
    np.testing.assert_allclose(back[:4], [136 - across / 2, 240 - down / 2, 136 + across / 2, 240 + down / 2])


def test_a_high_face_has_as_large_a_window_as_a_wide_one() -> None:
    looking = look([])[0]
    for box, width in [([0, 0, 40, 20], 40), ([0, 0, 20, 100], 80), ([5, 5, 5, 5], 1)]:
        window = looking._window(face_row(box), 0.0, mirror=1)
        np.testing.assert_allclose(window.transform[:, :2], np.eye(2) * 44 / width)


@pytest.mark.parametrize(
    ("box", "score", "fits"),
    [
        ([26, 26, 70, 70], 0.021, True),
        ([26, 26, 70, 70], 0.019, False),
        ([26 + 19.5, 26, 70 + 19.5, 70], 0.9, True),  # .45 of 44 pixels are 19.8
        ([26, 26 - 20, 70, 70 - 20], 0.9, False),
        ([0, 0, 96, 96], 0.9, True),  # 2.2 times 44 are 96.8
        ([-1, -1, 97, 97], 0.9, False),
        ([37.9, 40, 58.1, 56], 0.9, True),  # and 44 / 2.2 are 20
        ([38.1, 40, 57.9, 56], 0.9, False),
        ([43, 26, 53, 70], 0.9, True),  # narrow, but high
        ([62, 30, 72, 66], 0.9, True),
    ],
)
def test_a_find_counts_in_the_middle_and_of_about_the_size(box: list[float], score: float, fits: bool) -> None:
    looking, _ = look([(box, score)])
    seen = looking.look(np.zeros((200, 200, 3), np.uint8), face_row([78, 78, 122, 122])[None], mirror=1)
    assert seen.shape == (1, 15) and (seen[0, 4] > 0) == fits
    if fits:
        np.testing.assert_allclose(seen[0], face_row([value + 52 for value in box], score), rtol=1e-5)
    else:
        np.testing.assert_array_equal(seen[0], face_row([78, 78, 122, 122], 0))


def test_the_best_find_of_each_window_is_taken_and_windows_go_in_batches() -> None:
    looking, maps = look([([30, 26, 74, 70], 0.5), ([26, 26, 70, 70], 0.8), ([22, 26, 66, 70], 0.6)])
    places = np.array([face_row([n, n, n + 44, n + 44]) for n in range(20)])
    first, second = looking.look_twice(np.zeros((90, 90, 3), np.uint8), places)
    assert [len(batch) for batch in maps.inputs] == [16, 16, 8]
    np.testing.assert_allclose(first[:, 4], 0.8, rtol=1e-5)
    np.testing.assert_allclose(first[:, :4], places[:, :4], atol=1e-3)
    np.testing.assert_allclose(second, [face_row(row[:4], 0.8) for row in places], atol=1e-3)


def tilted(row: np.ndarray, angle: float) -> np.ndarray:
    """Return a row whose eyes stand at an angle around the middle of its box."""
    turned, middle = row.copy(), (row[:2] + row[2:4]) / 2
    half = 8 * np.array([np.cos(angle), np.sin(angle)])
    turned[5:9] = [*(middle - half), *(middle + half)]
    return turned


@pytest.mark.parametrize(
    ("noticed_at", "turn", "looks"), [(0.0, 0.5, 1), (0.0, 0.55, 2), (0.7, 0.1, 1), (0.7, -3.0, 2)]
)
def test_a_face_that_stands_askew_in_its_window_is_looked_at_again(noticed_at: float, turn: float, looks: int) -> None:
    """The network finds it tilted by a turn in every window; the second window is turned by what the first showed."""
    looking, maps = look([([26, 26, 70, 70], 0.8)], eyes_rad=turn)
    place = tilted(face_row([78, 78, 122, 122]), noticed_at)
    seen = looking.look(np.zeros((200, 200, 3), np.uint8), place[None], mirror=1)
    assert len(maps.inputs) == looks
    across = seen[0, 7:9] - seen[0, 5:7]
    assert np.cos(np.arctan2(across[1], across[0]) - noticed_at - looks * turn) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("again", "turns"), [(0.9, 2), (0.8, 2), (0.7, 1)])
def test_the_second_of_two_looks_counts_where_it_sees_as_well(again: float, turns: int) -> None:
    looking, maps = look([([26, 26, 70, 70], 0.8)], eyes_rad=0.6)
    first = maps.run

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = first(inputs)
        maps._faces = [([26, 26, 70, 70], again)]
        return found

    maps.run = run  # type: ignore[method-assign]
    [seen] = looking.look(np.zeros((200, 200, 3), np.uint8), face_row([78, 78, 122, 122])[None], mirror=1)
    assert seen[4] == pytest.approx(max(again, 0.8))
    assert np.arctan2(seen[8] - seen[6], seen[7] - seen[5]) == pytest.approx(0.6 * turns, abs=1e-4)


def test_a_window_without_a_face_is_not_looked_at_again() -> None:
    looking, maps = look([])
    seen = looking.look(np.zeros((200, 200, 3), np.uint8), tilted(face_row([78, 78, 122, 122]), 1.0)[None], mirror=1)
    assert len(maps.inputs) == 1 and seen[0, 4] == 0


# ---------------------------------------------------------------- which finds are one, and what counts


def noticed(rows: list[np.ndarray], *, widths: Sequence[float] = (), cut: Sequence[bool] = ()) -> _Noticed:
    array = np.array(rows, float).reshape(-1, 15)
    given = np.array(widths or array[:, 2] - array[:, 0], float), np.array(cut or [False] * len(rows))
    return _Noticed(array, *given, np.empty((0, 15)))


@pytest.fixture(scope="module")
def detector() -> CenterFaceDetector:
    return CenterFaceDetector(open_model("CenterFace"), Maps([]))


def test_a_box_that_a_seam_cuts_off_gives_way_to_a_whole_one(detector: CenterFaceDetector) -> None:
    whole = [face_row([0, 0, 40, 40], 0.5), face_row([2, 2, 42, 42], 0.4), face_row([200, 0, 240, 40], 0.9)]
    at_seams = [
        face_row([0, 0, 40, 20], 0.99),  # all of it inside of a whole one
        face_row([30, 0, 70, 20], 0.3),  # a quarter
        face_row([300, 0, 340, 40], 0.6),
        face_row([301, 0, 341, 40], 0.7),
    ]
    found = detector._distinct([noticed(whole), noticed(at_seams, cut=[True] * 4)])
    assert found.rows[:, 4].tolist() == [0.9, 0.7, 0.5, 0.3] and found.cut.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(found.widths, [40, 40, 40, 40])


def test_weak_places_are_looked_at_where_they_are_large_and_few(detector: CenterFaceDetector) -> None:
    strong = [face_row([0, 0, 10, 10], 0.08)]
    large = [face_row([0, 0, 48 + n, 48], 0.079 - n / 1000) for n in range(10)]
    small = [face_row([0, 0, 47.9, 48], 0.07)]
    kept = detector._with_few_weak(noticed([*strong, *small, *large]))
    np.testing.assert_array_equal(kept.rows, [*strong, *large[:8]])


@pytest.mark.parametrize(
    ("width", "cut", "roll", "share"),
    [
        *((10, False, 0, 0), (21, False, 0, 0.25), (32, False, 0, 0.5), (250, False, 0, 0.5), (251, False, 0, 0)),
        *((5, False, 0, 0), (100, True, 0, 0), (100, False, 29.5, 0.5), (100, False, -30.5, 0)),
    ],
)
def test_a_first_look_counts_as_much_as_it_could_see(width: float, cut: bool, roll: float, share: float) -> None:
    row = face_row([0, 0, 100, 100])
    row[5:9] = [0, 0, np.cos(np.radians(roll)), np.sin(np.radians(roll))]
    assert centerface._share_of_first(noticed([row], widths=[width], cut=[cut])) == pytest.approx([share])


def test_what_lies_around_a_face_or_on_the_chest_below_is_of_it() -> None:
    face = Detection(np.array([110, 100, 210, 220], np.float32), 0.9)
    inside = [(81, 65), (239, 255), (239, 65), (11, 221), (309, 435), (160, 435)]
    outside = [(79, 150), (160, 63), (241, 219), (10, 300), (310, 300), (160, 437), (11, 219)]
    assert centerface._lie_in_faces(np.array(inside, float), [face]).all()
    assert not centerface._lie_in_faces(np.array(outside, float), [face]).any()


def test_of_rows_that_are_one_face_the_best_stays() -> None:
    rows = np.array(
        [
            [0, 0, 10, 10, 0.5],
            [1, 0, 11, 10, 0.6],  # they share nine elevenths
            [0, 0, 100, 100, 0.55],  # has all of the one before inside
            [95, 0, 125, 100, 0.4],  # shares a twenty-fifth of its own
            [300, 0, 310, 10, 0.1],
        ]
    )
    assert centerface._distinct_rows(rows, iou=0.5).tolist() == [1, 3, 4]


def test_a_third_look_decides_where_two_disagree(detector: CenterFaceDetector, monkeypatch) -> None:
    """The middle of three; where the first could not see, the mean of the others, and the doubt is theirs."""
    rows = [face_row([0, 0, 100, 100], 0.9), face_row([200, 0, 224, 100], 0.9), face_row([400, 0, 500, 100], 0.9)]
    rows += [face_row([600, 0, 623, 22], 0.9), face_row([700, 0, 800, 100], 0.2), face_row([900, 0, 990, 90], 0.9)]
    second = np.array(rows)
    first, third = second.copy(), second.copy()
    third[5, 4] = 0  # nothing was seen
    first[[0, 1, 3, 4, 5], 5:] += 20  # more than .15 of the eye distance
    first[2, 5:] += 1
    third[:, 5:] += 5
    asked = []

    def look(image, places, *, mirror):
        asked.append((places, mirror))
        return third[[0, 1, 5]]

    monkeypatch.setattr(detector._second_look, "look", look)
    united = (first + second) / 2
    expected = united.copy()
    doubts = detector._settle(
        np.zeros((9, 9, 3), np.uint8), first, second, np.array([0.5, 0, 0.5, 0.5, 0.5, 0.5]), united
    )
    [(places, mirror)] = asked
    np.testing.assert_array_equal(places, second[[0, 1, 5]])  # large, disputed, and no doubtful face
    assert mirror == 1
    expected[0, 5:] = third[0, 5:]
    expected[1, 5:] = (second[1, 5:] + third[1, 5:]) / 2
    np.testing.assert_allclose(united, expected)
    eyes = 16 / 36 * np.array([100, 24, 100])
    np.testing.assert_allclose(doubts[:3], np.sqrt(2) * np.array([20, 5, 1]) / eyes)


def test_both_looks_make_a_face(detector: CenterFaceDetector, monkeypatch) -> None:
    """A first look that sees a face at 21 pixels of the input has a quarter of the word, one at 10 none."""
    rows = [face_row([0, 0, 20, 20], 0.4), face_row([50, 0, 70, 20], 0.4), face_row([90, 0, 110, 20], 0.4)]
    seen = np.array([face_row([2, 0, 22, 20], 0.8), face_row([52, 0, 72, 20], 0.8), face_row([90, 0, 110, 20], 0)])
    asked = []

    def look(image, places, *, mirror):
        asked.append(mirror)
        return seen

    monkeypatch.setattr(detector._second_look, "look", look)
    found = detector._looked_at(np.zeros((9, 9, 3), np.uint8), noticed(rows, widths=[21, 10, 40]))
    assert asked == [-1]
    assert [face.score for face in found] == pytest.approx([0.8, 0.7])
    np.testing.assert_allclose([face.box_xyxy for face in found], [[52, 0, 72, 20], [1.5, 0, 21.5, 20]])
    np.testing.assert_allclose(found[1].landmarks, face_row([1.5, 0, 21.5, 20])[5:].reshape(5, 2), rtol=1e-6)
    assert found[0].landmark_doubt == pytest.approx(2 / (16 / 36 * 20))
    assert detector._looked_at(np.zeros((9, 9, 3), np.uint8), noticed([])) == []


def test_following_is_the_mean_of_two_looks(detector: CenterFaceDetector, monkeypatch) -> None:
    expected = [
        Detection(np.array([n, 0, n + 40, 40], np.float32), 0.9, FACE.astype(np.float32)) for n in (0, 100, 200)
    ]
    looks = np.array(
        [[face_row([n + dx, 0, n + dx + 40, 40], score) for n in (0, 100, 200)] for dx, score in [(1, 0.5), (3, 0.9)]]
    )
    looks[0, 1, 4] = looks[1, 2, 4] = 0

    def look_twice(image, rows):
        np.testing.assert_array_equal(rows[:, 5:], np.repeat([FACE.reshape(-1)], 3, axis=0))
        return looks[0], looks[1]

    monkeypatch.setattr(detector._second_look, "look_twice", look_twice)
    picture = np.zeros((50, 50, 3), np.uint8)
    [face] = detector.follow(picture, expected, threshold=0.69)
    np.testing.assert_allclose(face.box_xyxy, [2, 0, 42, 40])
    assert face.score == pytest.approx(0.7) and face.landmark_doubt == pytest.approx(2 / (16 / 36 * 40))
    assert detector.follow(picture, expected, threshold=0.71) == [] == detector.follow(picture, [], threshold=0.5)


@pytest.mark.parametrize(("size_wh", "factor", "border"), [((200, 100), 1.0, 50), ((640, 320), 0.5, 80)])
def test_a_picture_that_yields_nothing_is_looked_at_mirrored(
    size_wh: tuple[int, int], factor: float, border: int
) -> None:
    shown = face_row([border + 20, border + 30, border + 56, border + 70], 0.04)
    maps = Maps([(shown[:4], 0.04), ((border + 100, border + 30, border + 130, border + 70), 0.02)])
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    image[:, : size_wh[0] // 2] = 200
    found = CenterFaceDetector(open_model("CenterFace"), maps)._noticed_at_retry(image)
    points = (shown[5:].reshape(5, 2) - border) / factor
    points[:, 0] = size_wh[0] - points[:, 0]
    left, top, right, bottom = (shown[:4] - border) / factor
    expected = [size_wh[0] - right, top, size_wh[0] - left, bottom, 0.04, *points[[1, 0, 2, 4, 3]].reshape(-1)]
    np.testing.assert_allclose(found.rows, [expected], rtol=1e-5)
    [blob] = maps.inputs
    assert blob.shape[2:] == tuple(-(-(round(side * factor) + 2 * border) // 32) * 32 for side in size_wh[::-1])
    lit = np.flatnonzero(blob[0, 0, border + 5] > 0)
    half = round(size_wh[0] * factor / 2)
    assert lit.min() == border + half and lit.max() == border + 2 * half - 1  # the bright half is on the right now
    assert blob[0, 0, :border].max() == blob[0, 0, border + round(size_wh[1] * factor) :].max() == blob.min()


@pytest.mark.parametrize(("height", "most"), [(100, 24), (2100, 48)])
def test_the_best_faint_places_outside_of_large_faces_are_looked_at(
    height: int, most: int, detector: CenterFaceDetector, monkeypatch
) -> None:
    face = Detection(np.array([0, 0, 100, 100], np.float32), 0.9, FACE.astype(np.float32))
    inside = face_row([40, 40, 50, 52], 0.07)
    outside = [face_row([500 + n, 0, 510 + n, 12], 0.01 + n / 1000) for n in range(60)]
    asked = []

    def look_at_patches(image, centers, **options):
        asked.append((centers, options["factor"], options["noticed"]))
        return np.array([face_row([500, 0, 510, 12], 0.5), face_row([501, 0, 511, 12], 0.6)])

    monkeypatch.setattr(centerface, "look_at_patches", look_at_patches)
    monkeypatch.setattr(detector, "_with_further", lambda image, faces, found: found)
    picture = np.broadcast_to(np.zeros(3, np.uint8), (height, 2000, 3))
    found = detector._with_small_ones(picture, [face], np.array([inside, *outside]), 0.625)
    [(centers, factor, least)] = asked
    np.testing.assert_allclose(centers, [[505 + n, 6] for n in range(59, 59 - most, -1)])
    assert (factor, least) == (0.625, 0.2)
    np.testing.assert_allclose(found.rows[:, 4], [0.6])
    np.testing.assert_allclose(found.widths, [6.25])


@pytest.mark.parametrize(
    ("faces", "only_large", "one_small"),
    [
        ([], False, False),
        ([(64, 0.5, 0)], True, False),  # four times the smallest face
        ([(64, 0.49, 0)], False, False),
        ([(63, 0.5, 0)], False, True),
        ([(63, 0.49, 0)], False, False),
        ([(64, 0.5, 0), (63, 0.24, 0)], True, False),
        ([(64, 0.5, 0), (63, 0.25, 0)], False, False),
        ([(64, 0.5, 29.5)], True, False),
        ([(64, 0.5, 0), (64, 0.3, -30.5)], False, False),
    ],
)
def test_large_upright_faces_alone_are_no_reason_to_look_finer(
    faces: list[tuple[float, float, float]], only_large: bool, one_small: bool, detector: CenterFaceDetector
) -> None:
    found = []
    for width, score, roll in faces:
        points = FACE.copy()
        points[1] = points[0] + [16 * np.cos(np.radians(roll)), 16 * np.sin(np.radians(roll))]
        found.append(Detection(np.array([7, 0, 7 + width, 90], np.float32), score, points.astype(np.float32)))
    assert detector._shows_large_faces_only(found) == only_large
    assert detector._shows_small_face(found) == one_small


def test_places_that_are_known_faces_are_not_looked_at_again(detector: CenterFaceDetector, monkeypatch) -> None:
    sure = Detection(np.array([0, 0, 40, 40], np.float32), 0.5, FACE.astype(np.float32))
    unsure = Detection(np.array([100, 0, 140, 40], np.float32), 0.49, FACE.astype(np.float32))
    small = Detection(np.array([200, 0, 213, 5], np.float32), 0.9, FACE.astype(np.float32))
    places = [face_row([0, 20, 40, 60]), face_row([0, 22, 40, 62]), face_row([100, 0, 140, 40])]  # .33 and .29 shared
    places.append(face_row([207, 0, 220, 5]))  # .3
    asked = []

    def looked_at(image, found):
        asked.append(found.rows)
        return [Detection(np.array([100, 0, 140, 41], np.float32), 0.8, FACE.astype(np.float32))]

    monkeypatch.setattr(detector, "_looked_at", looked_at)
    faces = detector._with_further(np.zeros((9, 9, 3), np.uint8), [sure, unsure, small], noticed(places))
    np.testing.assert_array_equal(asked[0], places[1:])
    assert [face.score for face in faces] == [0.9, 0.8, 0.5]


# ---------------------------------------------------------------- patches


@pytest.mark.parametrize(
    ("center", "part"),
    [((200, 150), (136, 86, 264, 214)), ((10, 299), (0, 172, 128, 300)), ((399, 5), (272, 0, 400, 128))],
)
def test_a_patch_lies_around_its_place_and_in_the_picture(center: tuple[int, int], part: tuple[int, ...]) -> None:
    piece = small_patches._piece(np.array(center, float), 0.5, (400, 300))
    assert piece == Piece(part, (64, 64), 0, (False,) * 4)
    small = small_patches._piece(np.array(center, float), 0.5, (100, 60))
    assert small == Piece((0, 0, 100, 60), (50, 30), 0, (False,) * 4)


def test_patches_stand_side_by_side_in_the_smallest_grid() -> None:
    columns, rows = np.meshgrid(np.arange(900) % 251, np.arange(700) % 241)
    image = np.stack([columns, rows, columns // 2], axis=-1).astype(np.uint8)
    random = np.random.default_rng(0)
    for count, grids in [(8, [(2, 4)]), (9, [(4, 6)]), (26, [(4, 6), (2, 4)]), (0, [])]:
        places = np.stack([random.integers(0, 900, count), random.integers(0, 700, count)], axis=1).astype(float)
        maps = Maps([([26, 26, 38, 38], 0.3), ([64 + 26, 26, 64 + 38, 38], 0.1)])
        found = small_patches.look_at_patches(
            image, places, factor=1.0, runtime=maps, card_input=INPUT, stride=STRIDE, noticed=0.2
        )
        assert [blob.shape for blob in maps.inputs] == [(1, 3, 64 * height, 64 * width) for height, width in grids]
        number = 0
        for blob, (height, width) in zip(maps.inputs, grids):
            for place in range(min(height * width, count - number)):
                left, top, right, bottom = small_patches._piece(places[number], 1.0, (900, 700)).part_xyxy
                shown = blob[0, :, place // width * 64 :, place % width * 64 :][:, :64, :64]
                np.testing.assert_array_equal(shown, image[top:bottom, left:right].transpose(2, 0, 1))
                number += 1
        assert number == count and found.shape[1] == 15
        # The first patch of each mosaic shows a face, where the picture's edge did not move it away.
        assert len(found) == sum((np.abs(_middle(places[n]) - places[n]) <= 16).all() for n in range(0, count, 24))


def test_a_picture_smaller_than_a_patch_is_shown_whole() -> None:
    image = np.random.default_rng(0).integers(1, 256, (30, 40, 3), dtype=np.uint8)
    maps = Maps([])
    small_patches.look_at_patches(
        image, np.array([[5.0, 5.0]]), factor=1.0, runtime=maps, card_input=INPUT, stride=STRIDE, noticed=0.2
    )
    expected = np.zeros((128, 256, 3), np.uint8)
    expected[:30, :40] = image
    np.testing.assert_array_equal(maps.inputs[0][0], expected.transpose(2, 0, 1))


def _middle(place: np.ndarray) -> np.ndarray:
    left, top, right, bottom = small_patches._piece(place, 1.0, (900, 700)).part_xyxy
    return np.array([left + right, top + bottom]) / 2


def test_finds_of_a_mosaic_come_back_to_the_places_of_their_patches() -> None:
    grid, places = (2, 4), np.array([[200.0, 150], [1000, 500], [600, 600], [300, 900], [700, 300]])
    pieces = [small_patches._piece(place, 0.5, (2000, 1500)) for place in places]
    shown = [
        face_row([64 * column + 26, 64 * row + 24, 64 * column + 38, 64 * row + 36]) for row, column in [(0, 1), (1, 0)]
    ]
    off = face_row([64 + 43, 26, 64 + 55, 38])  # 17 pixels beside the place
    empty = face_row([64 * 3 + 26, 64 + 26, 64 * 3 + 38, 64 + 38])  # no patch is there
    found = small_patches._in_picture(np.array([*shown, off, empty]), pieces, places, grid=grid)
    expected = [face_row([x - 12, y - 16, x + 12, y + 8]) for x, y in places[[1, 4]]]
    np.testing.assert_allclose(found, expected)
    assert small_patches._in_picture(np.array([empty]), pieces, places, grid=grid).shape == (0, 15)


@pytest.mark.parametrize(("size_wh", "shape"), [((1000, 200), (192, 704)), ((200, 1000), (704, 192))])
def test_the_first_pass_follows_the_longer_side(size_wh: tuple[int, int], shape: tuple[int, int]) -> None:
    maps = Maps([])
    image = np.random.default_rng(0).integers(0, 256, (*size_wh[::-1], 3), dtype=np.uint8)
    assert CenterFaceDetector(open_model("CenterFace"), maps)._glance(image) == []
    assert [blob.shape[2:] for blob in maps.inputs] == [shape]  # 625 and 125 pixels with a border of 24


def test_faint_small_peaks_are_noted(detector: CenterFaceDetector) -> None:
    shown = [([20, 20, 36, 38], 0.006), ([60, 60, 76, 78], 0.004), ([10, 60, 76, 90], 0.006)]
    finds = CenterFaceDetector(open_model("CenterFace"), Maps(shown))
    piece = Piece((0, 0, 96, 96), (96, 96), 0, (False,) * 4)
    faint = finds._notice(np.zeros((96, 96, 3), np.uint8), piece, 0.08).faint
    np.testing.assert_allclose(faint, [face_row([20, 20, 36, 38], 0.006)], rtol=1e-5)  # the third is 66 pixels wide


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_thin_pictures_are_no_error_in_the_second_try(shape: tuple[int, int]) -> None:
    maps = Maps([])
    found = CenterFaceDetector(open_model("CenterFace"), maps)._noticed_at_retry(np.zeros((*shape, 3), np.uint8))
    assert len(found.rows) == 0 and len(maps.inputs) == 1
