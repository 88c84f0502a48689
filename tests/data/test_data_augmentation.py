"""Random changes of training pictures: each against a slow obvious twin, and the same pixels for the same sample."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest
from published_layouts import face_jpeg, write_image_set

from arcface_paddle import images
from arcface_paddle.data import BatchLoader, LoaderOptions, augmentation, open_dataset
from arcface_paddle.data.augment_settings import PRESETS, STEPS, Step, parse_steps
from arcface_paddle.data.augmentation import CHANGES, Augmentation, Draws, centre_crop
from arcface_paddle.data.epoch_order import augment_keys, mirrored
from arcface_paddle.errors import ConfigError

FACE = images.decode_crop(face_jpeg(3))
COUNT = 40


def changed(text, key=5, image=FACE):
    return Augmentation(parse_steps([text]))(image, key)


def greys(image):
    """Luma of BT.601 in OpenCV's fixed point: 14 bits, rounded."""
    red, green, blue = (image[..., channel].astype(np.int64) for channel in range(3))
    return (red * 4899 + green * 9617 + blue * 1868 + 8192) >> 14


def clipped(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def test_every_name_is_implemented_and_keeps_shape_type_and_the_source():
    assert list(CHANGES) == list(STEPS)
    before = FACE.copy()
    for name in STEPS:
        for key in range(20):
            result = changed(f"{name}:1", key)
            assert result.shape == FACE.shape and result.dtype == np.uint8 and result.flags.c_contiguous, name
        assert any((changed(f"{name}:1", key) != FACE).any() for key in range(3)), name
        np.testing.assert_array_equal(changed(f"{name}:0"), FACE)
    np.testing.assert_array_equal(FACE, before)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7])
def test_photometric_changes_equal_their_formulas(factor):
    np.testing.assert_array_equal(changed(f"brightness:1:{factor}"), clipped(FACE.astype(float) * factor))
    mean = greys(FACE).mean()
    np.testing.assert_allclose(
        changed(f"contrast:1:{factor}"), clipped(mean + (FACE.astype(float) - mean) * factor), atol=1
    )
    grey = greys(FACE)[..., None]
    np.testing.assert_allclose(changed(f"saturation:1:{factor}"), clipped(grey + (FACE - grey) * factor), atol=1)


def test_grey_shift_and_photometric():
    np.testing.assert_array_equal(changed("grey:1"), np.repeat(greys(FACE)[..., None], 3, axis=2))
    shifts = {key: changed("brightness_shift:1:0.2", key) for key in range(8)}
    signs = {np.sign(int(picture.sum()) - int(FACE.sum())) for picture in shifts.values()}
    assert signs == {-1, 1}
    for picture in shifts.values():
        twins = [clipped(FACE + sign * 51.0) for sign in (1, -1)]
        assert any((picture == twin).all() for twin in twins)
    np.testing.assert_array_equal(changed("photometric:1:1"), FACE)
    orders = {changed("photometric:1:0.5", key).tobytes() for key in range(40)}
    assert 1 < len(orders) <= 6  # the three changes in their orders


def test_crop_is_a_window_of_the_enlarged_picture():
    large = images.resize(FACE, (128, 128))
    windows = {large[y : y + 112, x : x + 112].tobytes(): (y, x) for y in range(17) for x in range(17)}
    places = [windows[changed("crop", key).tobytes()] for key in range(60)]
    assert len(set(places)) > 30 and {0, 16} <= {value for place in places for value in place}
    np.testing.assert_array_equal(centre_crop(FACE), large[8:120, 8:120])
    assert windows[centre_crop(FACE).tobytes()] == (8, 8)


def rectangle_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.98
    return len(rows), len(columns)


def test_crop_black_and_erase_touch_one_rectangle_of_the_wanted_area():
    picture = np.full((112, 112, 3), 200, np.uint8)
    for key in range(40):
        kept = changed("crop_black:1:0.3-0.5", key, picture)
        assert set(np.unique(kept)) == {0, 200}
        height, width = rectangle_of(kept[..., 0] > 0)
        assert 0.27 <= height * width / 112**2 <= 0.53 and 0.73 <= width / height <= 1.37
        erased = changed("erase:1:0.1-0.2", key, picture)
        height, width = rectangle_of((erased != picture).any(axis=2))
        assert 0.09 <= height * width / 112**2 <= 0.21
        noise = erased[(erased != picture).any(axis=2)]
        assert 115 < noise.mean() < 140 and len(np.unique(noise)) > 200


def test_low_resolution_compression_and_blur_equal_what_opencv_makes():
    kinds = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    twins = {
        cv2.resize(cv2.resize(FACE, (28, 28), interpolation=down), (112, 112), interpolation=up).tobytes(): (down, up)
        for down in kinds
        for up in kinds
    }
    assert len({twins[changed("low_resolution:1:0.25", key).tobytes()] for key in range(100)}) > 15
    expected = images.decode_crop(images.encode_image(FACE, suffix=".jpg", quality=20))
    compressed = changed("compression:1:20")
    difference = np.abs(compressed.astype(int) - expected)
    assert difference.mean() < 1  # two writers of the same standard, with the same quality; the colours in order
    assert np.abs(compressed.astype(int) - FACE).mean() > difference.mean() * 2
    np.testing.assert_array_equal(changed("blur:1:1.5"), cv2.GaussianBlur(FACE, (0, 0), 1.5))


def test_tilt_and_zoom_move_a_dot_where_they_say():
    """A dot beside the middle turns about it; a zoom moves it away from or towards the place about which it is done."""
    picture = np.zeros((113, 113, 3), np.uint8)
    picture[54:59, 84:89] = 255  # 30 pixels to the right of the middle, 56

    def middle_of(changed_picture):
        rows, columns = np.nonzero(changed_picture[..., 0] > 100)
        return columns.mean() - 56, rows.mean() - 56

    angles = [np.degrees(np.arctan2(*middle_of(changed("tilt:1:10-20", key, picture))[::-1])) for key in range(30)]
    assert {np.sign(angle) for angle in angles} == {-1, 1}
    assert min(map(abs, angles)) > 9 and max(map(abs, angles)) < 21
    areas = [(changed("zoom:1:2", key, picture)[..., 0] > 100).sum() for key in range(30)]
    assert 90 <= np.median([area for area in areas if area]) <= 110  # 25 pixels, twice as wide and high
    np.testing.assert_array_equal(changed("zoom:1:1", 3, FACE), FACE)


def test_noise_has_its_deviation_and_motion_blur_smears_along_a_line():
    grey = np.full((112, 112, 3), 128, np.uint8)
    for deviation in (2.0, 10.0):
        noisy = changed(f"noise:1:{deviation}", 4, grey).astype(float)
        assert abs(noisy.mean() - 128) < 0.3 and noisy.std() == pytest.approx(deviation, rel=0.05)
    dot = np.zeros((113, 113, 3), np.uint8)
    dot[56, 56] = 255
    np.testing.assert_array_equal(changed("motion_blur:1:1", 2, FACE), FACE)
    for key in range(10):
        smeared = changed("motion_blur:1:9", key, dot)[..., 0]
        rows, columns = np.nonzero(smeared)
        assert 8 <= np.hypot(np.ptp(rows), np.ptp(columns)) + 1 <= 11 and len(rows) <= 17
        assert 200 < smeared.sum() <= 275


def test_probability_and_strength_are_drawn_evenly():
    step = parse_steps(["brightness:0.3:0.5-0.9"])
    flat = np.full((4, 4, 3), 200, np.uint8)
    keys = augment_keys(np.arange(3000), seed=1, epoch=2)
    levels = np.array([Augmentation(step)(flat, int(key))[0, 0, 0] for key in keys])
    applied = levels[levels != 200]
    assert 0.27 < len(applied) / len(levels) < 0.33
    assert applied.min() >= 100 and applied.max() <= 180 and abs(applied.mean() - 140) < 3


def test_the_numbers_are_splitmix64_and_do_not_depend_on_other_steps():
    draws = Draws(7, "crop")
    values = [draws.uniform(0, 1) for _ in range(3)]
    assert values == [Draws(7, "crop").uniform(0, 1), *values[1:]] and len(set(values)) == 3
    assert Draws(7, "erase").uniform(0, 1) != values[0] != Draws(8, "crop").uniform(0, 1)
    # The published first outputs of the generator that begins at 1234567.
    known = Draws(0, "crop")
    known._state = 1234567
    assert [known._next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    both = Augmentation(parse_steps(["grey:1", "erase:1"]))(FACE, 3)
    alone = changed("erase:1", 3)
    hidden = (alone != FACE).any(axis=2)
    np.testing.assert_array_equal(both[hidden], alone[hidden])


def test_lists_presets_and_what_replaces_what():
    assert parse_steps(["none"]) == () == parse_steps([])
    assert [step.name for step in parse_steps(["adaface", "compression"])] == [
        *(step.name for step in PRESETS["adaface"]),
        "compression",
    ]
    assert parse_steps(["light", "Crop:0.5:120-124"])[0] == Step("crop", 0.5, 120, 124)
    assert parse_steps(["erase:1:0.1"]) == (Step("erase", 1.0, 0.1, 0.1),)
    for steps in map(parse_steps, (["adaface"], ["light"], list(STEPS))):
        assert parse_steps([str(step) for step in steps]) == steps


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["rotate"], "'rotate' is not known; allowed: none, light, adaface, rendered, crop"),
        (["none", "crop"], "none together with none, crop"),
        (["crop:2"], "the probability 2; allowed: 0 to 1"),
        (["crop:x"], "'x' in 'crop:x' is not a number"),
        (["crop:1:nan"], "is not a number"),
        (["crop:1:100"], "the strength 100 to 100; allowed: from 112 up to 224"),
        (["erase:1:0.5-0.1"], "the strength 0.5 to 0.1"),
        (["blur:1:1:2"], "has 3 values"),
        (["light:1"], "'light:1' is not known"),
    ],
)
def test_wrong_lists_are_refused_in_one_line(items, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_steps(items)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("augmented")
    write_image_set(root, [number // 4 for number in range(COUNT)])
    return open_dataset(root)


def batches(dataset, *, rank=0, world_size=1, start_sample=0, epoch=3, **options):
    wanted = {"batch_size": 8, "seed": 4, "augment": parse_steps(ALL), **options}
    with BatchLoader(dataset, LoaderOptions(**wanted), rank=rank, world_size=world_size) as loader:
        found = [
            (batch.indices.copy(), batch.images.copy()) for batch in loader.epoch(epoch, start_sample=start_sample)
        ]
    return [np.concatenate(column) for column in zip(*found)]


ALL = [f"{name}:0.5" for name in STEPS]


@pytest.mark.parametrize(
    ("workers", "kind", "world_size"), [(0, "thread", 1), (3, "thread", 1), (2, "thread", 4), (2, "process", 2)]
)
def test_pixels_do_not_depend_on_workers_ranks_or_a_resume(dataset, workers, kind, world_size):
    whole_indices, whole = batches(dataset, workers=1)
    size = 8 // world_size
    parts = [
        batches(
            dataset,
            rank=rank,
            world_size=world_size,
            batch_size=size,
            workers=workers,
            worker_kind=kind,
            start_sample=16,
        )
        for rank in range(world_size)
    ]
    for step in range(3):
        mine, place = slice(step * size, (step + 1) * size), slice(16 + step * 8, 24 + step * 8)
        np.testing.assert_array_equal(np.concatenate([part[0][mine] for part in parts]), whole_indices[place])
        np.testing.assert_array_equal(np.concatenate([part[1][mine] for part in parts]), whole[place])


def test_a_row_is_the_changed_mirrored_sample_and_each_epoch_changes_anew(dataset):
    indices, rows = batches(dataset, workers=2)
    change = Augmentation(parse_steps(ALL))
    keys, flips = augment_keys(indices, seed=4, epoch=3), mirrored(indices, seed=4, epoch=3)
    for index, row, key, flip in zip(indices, rows, keys, flips):
        picture = change(dataset.read_image(index), int(key))
        expected = ((picture[:, ::-1] if flip else picture) / 255 - 0.5) / 0.5
        np.testing.assert_allclose(row, expected.transpose(2, 0, 1), atol=1e-6)
    other_indices, other = batches(dataset, epoch=4)
    same = [(rows[indices == index] == other[other_indices == index]).all() for index in range(COUNT)]
    assert sum(same) < COUNT // 4
    assert len(np.unique(keys)) == COUNT and not np.array_equal(keys, augment_keys(indices, seed=5, epoch=3))


def test_ccrop_comes_first_and_not_with_crop(dataset):
    indices, rows = batches(dataset, augment=(), ccrop=True, mirror=False)
    for index, row in zip(indices[:5], rows):
        expected = (centre_crop(dataset.read_image(index)) / 255 - 0.5) / 0.5
        np.testing.assert_allclose(row, expected.transpose(2, 0, 1), atol=1e-6)
    with pytest.raises(ConfigError, match="ccrop and augment crop both cut 112 out of 128"):
        LoaderOptions(8, augment=parse_steps(["light"]), ccrop=True)


def test_without_augmentation_pictures_are_left_as_they_are(dataset):
    indices, rows = batches(dataset, augment=(), mirror=False)
    for index, row in zip(indices, rows):
        np.testing.assert_array_equal(row, dataset[index][0])


def test_it_can_be_sent_to_processes_and_is_frozen():
    change = pickle.loads(pickle.dumps(Augmentation(parse_steps(["adaface"]), ccrop=True)))
    np.testing.assert_array_equal(change(FACE, 9), Augmentation(parse_steps(["adaface"]), ccrop=True)(FACE, 9))
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_steps(["crop"])[0].low = 1
    assert augmentation.CHANGES.keys() == STEPS.keys()
