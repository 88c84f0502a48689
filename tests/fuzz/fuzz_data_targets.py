"""Targets of what is written beside data: metadata of rendered people, embeddings of teachers."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import fuzz_seeds as seeds
import numpy as np
from fuzz_target import Parse, Target, of_file

_TEACHER = "a teacher"


def _metadata(content: bytes, folder: Path) -> Parse:
    """Sort the pictures of a rendered data set by difficulty."""
    from arcface_paddle.data.difficulty import read_ladder
    from arcface_paddle.data.kinds import open_dataset
    from arcface_paddle.synthetic.writer import read_metadata

    (folder / "1.bin").write_bytes(seeds.bin_records()[0])
    (folder / "label.txt").write_text("1.bin\t0\n1.bin\t1\n")
    (folder / "metadata.jsonl").write_bytes(content)

    def parse() -> None:
        list(read_metadata(folder))
        dataset = open_dataset(folder)
        every = np.arange(len(dataset))
        assert sorted(read_ladder(folder, dataset).eased(every, 0.5)) == every.tolist()

    return parse


def _described(label: int) -> dict[str, Any]:
    return {
        "path": f"{label}.bin", "label": label, "crc32": 7, "yaw_deg": 12.5, "pitch_deg": -3.0, "occluders": ["hat"],
        "lamp_directions": [[0.0, 0.6, 0.8]], "lamp_colors": [[1.0, 0.9, 0.8]], "ambient": [0.2, 0.2, 0.2],
    }  # fmt: skip


def _metadata_seeds() -> list[bytes]:
    return [b"".join(seeds.json_bytes(_described(label)) + b"\n" for label in (0, 1))]


def _part(content: bytes, folder: Path) -> Parse:
    """Read the part of a person who was rendered by another process or another machine."""
    from arcface_paddle.synthetic import jobs
    from arcface_paddle.synthetic.layout import DatasetSettings, Layout

    layout = Layout(folder, DatasetSettings(identities=1, images_per_identity=1, format="image"))
    layout.part(0).parent.mkdir(parents=True)
    layout.part(0).write_bytes(content)
    (folder / "images").mkdir()
    (folder / layout.name(0, 0)).write_bytes(b"picture")
    return lambda: jobs.read_part(layout, 0)


def _part_seeds() -> list[bytes]:
    return [seeds.json_bytes({"path": "images/00000000.jpg", "label": 0, "crc32": zlib.crc32(b"picture")}) + b"\n"]


def _settings(path: Path) -> None:
    from arcface_paddle.synthetic import shards, writer
    from arcface_paddle.synthetic.layout import DatasetSettings

    shards.read_settings(path.parent)
    writer._check_same_settings(path, DatasetSettings())


def _settings_seeds() -> list[bytes]:
    from arcface_paddle.synthetic.layout import DatasetSettings

    return [seeds.json_bytes(DatasetSettings().as_json())]


def _teacher_cache(content: bytes, folder: Path) -> Parse:
    """Look for embeddings in a file of an earlier session; what is found must be of length 1."""
    from arcface_paddle.training.teacher_cache import TeacherCache

    own = folder / hashlib.sha256(_TEACHER.encode()).hexdigest()[:16]
    own.mkdir()
    (own / "1_1.embeddings").write_bytes(content)

    def parse() -> None:
        cache = TeacherCache(folder, teacher=_TEACHER, embedding_size=4)
        for number in range(3):
            found = cache.find(np.array([number, 7], np.uint64))
            assert found is None or abs(float(np.linalg.norm(found)) - 1) < 0.01, "no embedding"

    return parse


def _teacher_caches() -> list[bytes]:
    keys = [np.array([number, 7], np.uint64).tobytes() for number in range(3)]
    return [b"".join(key + row.tobytes() for key, row in zip(keys, seeds.unit(3, 4)))]


TARGETS = (
    Target("synth_metadata", _metadata_seeds, _metadata),
    Target("synth_part", _part_seeds, _part),
    Target("synth_settings", _settings_seeds, of_file("synthetic.json", _settings)),
    Target("teacher_cache", _teacher_caches, _teacher_cache, may_do=("os.mkdir",)),
)
