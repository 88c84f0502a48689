"""Datasets of synthetic people: formats, workers, interruption."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import numpy as np
import psutil
import pytest

from arcface_paddle import files
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.images import decode_crop, load_image
from arcface_paddle.synthetic import jobs
from arcface_paddle.synthetic.contact_sheet import write_contact_sheet
from arcface_paddle.synthetic.layout import FORMATS, DatasetSettings
from arcface_paddle.synthetic.writer import read_metadata, write_dataset

SMALL = DatasetSettings(
    identities=2, images_per_identity=2, seed=4, size=48, val_identities=2, val_pairs=4, sessions_per_identity=1
)


def content_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic") / "set"
    write_dataset(root, SMALL)
    return root


def test_report_and_what_stands_there(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "images",
        "label.txt",
        "metadata.jsonl",
        "synthetic.bin",
        "synthetic.json",
    ]
    assert json.loads((finished / "synthetic.json").read_text())["seed"] == 4
    dataset = open_dataset(finished, image_size=48)
    assert dataset.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_holds_the_same_pictures(finished, tmp_path, format_name):
    root = tmp_path / "set"
    write_dataset(root, replace(SMALL, format=format_name))
    dataset, expected = open_dataset(root, image_size=48), open_dataset(finished, image_size=48)
    assert dataset.labels.tolist() == expected.labels.tolist()
    assert [dataset.read_encoded(i) for i in range(4)] == [expected.read_encoded(i) for i in range(4)]
    checksums = [entry["crc32"] for entry in read_metadata(root)]
    assert checksums == [zlib.crc32(dataset.read_encoded(i)) for i in range(4)]
    assert (root / "synthetic.bin").read_bytes() == (finished / "synthetic.bin").read_bytes()
    assert not (root / ".work").exists()


def test_two_workers_write_the_same_bytes(finished, tmp_path):
    counted = []
    report = write_dataset(tmp_path / "set", SMALL, workers=2, progress=counted.append)
    assert content_of(tmp_path / "set") == content_of(finished)
    assert sum(counted) == 8
    assert (report.rendered_identities, report.resumed_identities) == (4, 0)


def test_interrupted_run_goes_on_and_ends_in_the_same_bytes(finished, tmp_path, monkeypatch):
    root = tmp_path / "set"
    complete, begun = jobs.complete_identity, []

    def stop_at_the_third(layout, faces, identity):
        begun.append(identity)
        if len(begun) == 3:
            raise KeyboardInterrupt
        complete(layout, faces, identity)

    monkeypatch.setattr(jobs, "complete_identity", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(root, SMALL)
    monkeypatch.setattr(jobs, "complete_identity", complete)
    damaged = root / "images" / "00000001.bin"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    (root / "images" / "00000002.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="not empty"):
        write_dataset(root, SMALL)
    report = write_dataset(root, SMALL, existing="resume")
    assert report.rendered_identities == 4, "both people of the training set were damaged, two were not begun"
    assert content_of(root) == content_of(finished)


def test_resume_keeps_whole_people(finished, tmp_path, monkeypatch):
    root = tmp_path / "set"
    monkeypatch.setattr("arcface_paddle.synthetic.writer.assemble", lambda layout: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_dataset(root, SMALL)
    monkeypatch.undo()
    rendered = []
    monkeypatch.setattr(jobs.SyntheticFaces, "render", lambda *args: rendered.append(args))
    report = write_dataset(root, SMALL, existing="resume")
    assert (report.rendered_identities, rendered) == (0, [])
    assert content_of(root) == content_of(finished)


def test_resume_of_a_finished_set_checks_and_repairs_it(finished, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(finished, root)
    assert write_dataset(root, SMALL, existing="resume").rendered_identities == 0
    (root / "images" / "00000003.bin").unlink()
    assert write_dataset(root, SMALL, existing="resume").rendered_identities == 4
    assert content_of(root) == content_of(finished)


def test_damaged_shards_are_replaced(tmp_path):
    root, settings = tmp_path / "set", replace(SMALL, format="packed", val_identities=0)
    write_dataset(root, settings)
    whole = content_of(root)
    shard = root / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 255
    shard.write_bytes(content)
    write_dataset(root, settings, existing="resume")
    assert content_of(root) == whole


def test_other_settings_and_other_folders_are_left_alone(finished, tmp_path):
    before = content_of(finished)
    with pytest.raises(DataError, match="begun with seed 4, not 5"):
        write_dataset(finished, replace(SMALL, seed=5), existing="resume")
    assert content_of(finished) == before
    (tmp_path / "letter.txt").write_text("dear reader")
    for existing in ("refuse", "resume", "overwrite"):
        with pytest.raises(ConfigError):
            write_dataset(tmp_path, SMALL, existing=existing)
    assert (tmp_path / "letter.txt").read_text() == "dear reader"
    with pytest.raises(ConfigError, match="is a file"):
        write_dataset(tmp_path / "letter.txt", SMALL)


def test_overwrite_replaces_a_synthetic_set(finished, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(finished, root)
    write_dataset(root, replace(SMALL, identities=1, val_identities=0), existing="overwrite")
    assert len(open_dataset(root, image_size=48)) == 2
    assert not (root / "synthetic.bin").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folders")
def test_two_do_not_write_one_folder(tmp_path):
    with files.claimed_folder(tmp_path / "set"):  # as another process does
        for existing in ("refuse", "resume", "overwrite"):
            with pytest.raises(DataError, match="set: another process is writing into this folder"):
                write_dataset(tmp_path / "set", SMALL, existing=existing)
        assert list((tmp_path / "set").iterdir()) == []
    assert not (tmp_path / "set").exists()


def test_verification_pairs_are_of_held_out_people(finished):
    pairs = read_verification_set(finished / "synthetic.bin")
    assert pairs.issame.tolist() == [True, False, True, False]
    dataset = open_dataset(finished, image_size=48)
    training = {dataset.read_encoded(index) for index in range(len(dataset))}
    assert not training & set(pairs.images)
    for pair in range(4):
        assert pairs.images[2 * pair] != pairs.images[2 * pair + 1]


def test_metadata_agrees_with_the_population(finished):
    faces = SMALL.population()
    for entry in read_metadata(finished):
        shown = faces.render(entry["label"], entry["image"])
        np.testing.assert_allclose(entry["points"], shown.points, atol=6e-4)
        np.testing.assert_allclose(entry["box_xyxy"], shown.box_xyxy, atol=6e-4)
        assert entry["yaw_deg"] == pytest.approx(shown.pose.yaw_deg, abs=6e-3)
        assert tuple(entry["occluders"]) == shown.occluders
        assert entry["path"] == f"images/{2 * entry['label'] + entry['image']:08d}.bin"


def test_full_frames_are_written_with_their_boxes(tmp_path):
    settings = DatasetSettings(
        identities=1, images_per_identity=1, size=96, full_frame=True, format="image", encoding="png"
    )
    write_dataset(tmp_path / "set", settings)
    (entry,) = read_metadata(tmp_path / "set")
    assert entry["path"] == "images/00000000.png"
    assert load_image(tmp_path / "set" / entry["path"]).shape == (96, 96, 3)
    left, top, right, bottom = entry["box_xyxy"]
    assert 10 < right - left < 70
    assert 10 < bottom - top < 70


def test_contact_sheet(finished, tmp_path):
    assert write_contact_sheet(tmp_path / "sheet.png", finished, SMALL) == (2, 2)
    sheet = load_image(tmp_path / "sheet.png")
    assert sheet.shape == (96, 96, 3)
    dataset = open_dataset(finished, image_size=48)
    np.testing.assert_array_equal(sheet[48:, :48], decode_crop(dataset.read_encoded(2)))


@pytest.mark.parametrize(
    "change",
    [
        {"identities": 0},
        {"images_per_identity": 0},
        {"format": "zip"},
        {"encoding": "gif"},
        {"val_identities": 1},
        {"val_pairs": 1},
        {"full_frame": True},
        {"size": 8},
        {"seed": -1},
    ],
    ids=str,
)
def test_bad_settings(change):
    with pytest.raises(ConfigError):
        replace(SMALL, **change)


def test_bad_arguments(tmp_path):
    with pytest.raises(ConfigError, match="workers is 0"):
        write_dataset(tmp_path / "set", SMALL, workers=0)
    with pytest.raises(ConfigError, match="existing is 'maybe'"):
        write_dataset(tmp_path / "set", SMALL, existing="maybe")
    assert not (tmp_path / "set").exists()


def test_no_worker_outlives_a_killed_parent(tmp_path):
    command = [sys.executable, "-m", "arcface_paddle", "synth", str(tmp_path / "set"), "--workers", "2"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "set" / ".work" / "parts"
    wait_until(lambda: parts.is_dir() and any(parts.iterdir()))
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def wait_until(condition, *, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "nothing was rendered"
        time.sleep(0.1)
