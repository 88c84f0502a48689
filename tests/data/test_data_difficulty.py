"""Easier pictures of the same identity, against a slow twin; lessons in batches of every kind of worker."""

from __future__ import annotations

import json

import numpy as np
import pytest
from published_layouts import write_image_set

from arcface_paddle.data import BatchLoader, LoaderOptions, open_dataset
from arcface_paddle.data.augment_settings import parse_steps
from arcface_paddle.data.augmentation import Augmentation
from arcface_paddle.data.batches import Lesson
from arcface_paddle.data.difficulty import Ladder, difficulty_of, read_ladder
from arcface_paddle.data.layouts import convert_dataset
from arcface_paddle.errors import DataError

EASY = {
    "label": 0,
    "yaw_deg": 0.0,
    "pitch_deg": 0.0,
    "occluders": [],
    "lamp_directions": [[0, 0, 1]],
    "lamp_colors": [[1, 1, 1]],
    "ambient": [0.3, 0.3, 0.3],
}


def slow_eased(labels, difficulty, index, share):
    own = sorted((d, i) for i, (label, d) in enumerate(zip(labels, difficulty)) if label == labels[index])
    allowed = [i for _, i in own][: max(1, int(np.ceil(share * len(own) - 1e-9)))]
    return index if index in allowed else allowed[[i for _, i in own].index(index) % len(allowed)]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 1.0])
def test_ladder_equals_the_slow_one(share):
    rng = np.random.default_rng(5)
    labels, difficulty = rng.integers(0, 9, 120), rng.integers(0, 12, 120).astype(float)
    labels[labels == 4] = 5  # a label that nobody has
    indices = rng.integers(0, 120, 300)
    eased = Ladder(labels, difficulty).eased(indices, share)
    assert eased.tolist() == [slow_eased(labels, difficulty, index, share) for index in indices]
    np.testing.assert_array_equal(labels[eased], labels[indices])
    if share == 1.0:
        np.testing.assert_array_equal(eased, indices)


@pytest.mark.parametrize(
    "change",
    [
        {"yaw_deg": -40.0},
        {"pitch_deg": 20.0},
        {"occluders": ["mask"]},
        {"occluders": ["glasses"]},
        {"lamp_directions": [[1, 0, 0]]},
        {"lamp_directions": [[0.6, 0, -0.8]]},
    ],
    ids=str,
)
def test_each_thing_makes_a_picture_harder(change):
    assert difficulty_of(EASY) == 0.0
    assert 0.05 < difficulty_of({**EASY, **change}) < 1.0


def test_reading_refuses_what_is_not_of_the_dataset(tmp_path):
    write_image_set(tmp_path, [0, 0, 1])
    dataset = open_dataset(tmp_path)
    with pytest.raises(DataError, match="no such file; curriculum difficulty needs a dataset of"):
        read_ladder(tmp_path, dataset)
    lines = [{**EASY, "yaw_deg": 50.0}, EASY, {**EASY, "label": 1}]
    lines = [{**line, "path": f"images/{number:08d}.jpg"} for number, line in enumerate(lines)]
    path = tmp_path / "metadata.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_ladder(tmp_path, dataset).eased(np.array([0, 1, 2]), 0.5).tolist() == [1, 1, 2]
    path.write_text("".join(json.dumps({**line, "label": 0}) + "\n" for line in lines))
    with pytest.raises(DataError, match="describes 3 pictures, but not the 3 of the dataset"):
        read_ladder(tmp_path, dataset)
    path.write_text(json.dumps(lines[0]) + "\n" + json.dumps(lines[2]) + "\n")
    with pytest.raises(DataError, match="describes 2 pictures, but not the 3 of the dataset"):
        read_ladder(tmp_path, dataset)
    path.write_text(json.dumps(lines[0]) + "\n{}\n")
    with pytest.raises(DataError, match="line 2 cannot be read"):
        read_ladder(tmp_path, dataset)


@pytest.mark.parametrize("layout", ["image", "packed"])
def test_a_cleaned_label_file_keeps_the_difficulty_of_each_picture(tmp_path, layout):
    write_image_set(tmp_path / "image", [0, 0, 1, 1, 2])
    convert_dataset(open_dataset(tmp_path / "image"), tmp_path / "packed", layout="packed")
    named = "images/{:08d}.jpg" if layout == "image" else "#{}"
    lines = [
        {**EASY, "label": label, "yaw_deg": yaw, "path": named.format(number)}
        for number, (label, yaw) in enumerate(zip([0, 0, 1, 1, 2], [0, 0, 60, 10, 0]))
    ]
    (tmp_path / layout / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = [(2, 0), (3, 0), (4, 1)]  # person 0 is left out, the others are numbered anew
    cleaned = tmp_path / layout / "clean.txt"
    cleaned.write_text("".join(f"{named.format(number).lstrip('#')}\t{label}\n" for number, label in kept))
    dataset = open_dataset(tmp_path / layout, label_file=cleaned)
    assert read_ladder(tmp_path / layout, dataset).eased(np.array([0, 1, 2]), 0.5).tolist() == [1, 1, 2]


def test_a_stronger_lesson_changes_what_a_weaker_one_changes():
    picture = np.full((112, 112, 3), 100, np.uint8)
    change = Augmentation(parse_steps(["brightness:0.8:0.5"]))
    at = {share: {key for key in range(300) if (change(picture, key, share) != picture).any()} for share in (0, 0.3, 1)}
    assert not at[0] and at[0.3] < at[1] and 0.16 < len(at[0.3]) / 300 < 0.32 and len(at[1]) > 210


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("lessons")
    write_image_set(root, [number % 5 for number in range(24)])
    return open_dataset(root)


def batches_of(dataset, *, start_sample=0, first=0, rank=0, world_size=1, **options):
    ladder = Ladder(dataset.labels, -np.arange(len(dataset), dtype=float))
    chosen = LoaderOptions(4 // world_size, augment=parse_steps(["erase:1", "grey:0.5"]), seed=2, **options)
    with BatchLoader(dataset, chosen, ladder=ladder, rank=rank, world_size=world_size) as loader:
        lessons = [Lesson(number / 6, 0.3 + number / 10) for number in range(first, 6)]
        return [
            (batch.indices.copy(), batch.images.copy())
            for batch in loader.epoch(1, start_sample=start_sample, lessons=lessons.__getitem__)
        ]


def test_lessons_are_the_same_with_every_kind_of_worker_on_two_ranks_and_after_a_resume(dataset):
    expected = batches_of(dataset, workers=0)
    plain = BatchLoader(dataset, LoaderOptions(4, workers=0, seed=2))
    order = [batch.indices.copy() for batch in plain.epoch(1)]
    assert len(expected) == 6
    assert any((indices != mine).any() for (indices, _), mine in zip(expected, order))
    for (indices, _), mine in zip(expected, order):
        np.testing.assert_array_equal(dataset.labels[indices], dataset.labels[mine])
    ranks = [batches_of(dataset, workers=0, rank=rank, world_size=2) for rank in (0, 1)]
    for found in (
        [tuple(map(np.concatenate, zip(*pair))) for pair in zip(*ranks)],
        batches_of(dataset, workers=2),
        batches_of(dataset, workers=1, worker_kind="process"),
        expected[:2] + batches_of(dataset, workers=2, start_sample=8, first=2),
    ):
        for (indices, images), (other_indices, other_images) in zip(expected, found):
            np.testing.assert_array_equal(indices, other_indices)
            np.testing.assert_array_equal(images, other_images)
