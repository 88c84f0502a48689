"""A small dataset of textured pictures with one known fault of every kind, for the tests of the doctor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.data.verification_set import write_verification_set
from arcface_paddle.doctor.crop_embeddings import unit_rows

SIZE = 112
GAP_LABEL = 6


def texture(seed: tuple[int, ...], cells: int = 9) -> np.ndarray:
    """Return a smooth (112, 112) float32 pattern with mean about 0 and deviation about 1."""
    grid = np.random.default_rng(seed).standard_normal((cells, cells)).astype(np.float32)
    return cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def picture(person: int, shot: int) -> np.ndarray:
    """Return a crop of a "person": a pattern of the person under a weaker pattern of the shot, tinted like skin."""
    pattern = texture((1, person)) + 0.6 * texture((2, person, shot))
    levels = 120 + 38 * pattern
    return np.clip(np.stack([levels + 25, levels, levels - 20], axis=-1), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    return images.encode_image(image, suffix=".jpg", quality=quality)


def embedder(crops: np.ndarray) -> np.ndarray:
    """Stand in for a recogniser: a 9 x 9 grey version, in which the person's pattern dominates, plus its mirror."""
    small = np.array([cv2.resize(crop.mean(axis=2), (9, 9), interpolation=cv2.INTER_AREA) for crop in crops])
    features = (small + small[:, :, ::-1]).reshape(len(crops), -1).astype(np.float32)
    return unit_rows(features - features.mean(axis=1, keepdims=True))


@dataclass
class Planted:
    """A dataset on disk and what must be found in it.

    Attributes:
        root: the dataset's folder, with ``images/`` and ``label.txt``.
        verification: an lfw-style set that shares pictures and a person with it.
        expected: for each kind of finding, the set of (tuples of image indices).
        lines: line of the label file of each image, by index.
    """

    root: Path
    verification: Path
    expected: dict[str, set[tuple[int, ...]]] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)


class Writer:
    """Writes pictures and the label file, with comments and blank lines that move the line numbers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.text = "# made by a test\n\n"
        self.lines: list[int] = []
        (root / "images").mkdir(parents=True)

    def add(self, content: bytes | None, label: int, *, suffix: str = ".jpg") -> int:
        """Write a picture (None: list it, but write nothing) and return its index."""
        index = len(self.lines)
        name = f"images/{index:04d}{suffix}"
        if content is not None:
            (self.root / name).write_bytes(content)
        if index % 7 == 3:
            self.text += "# a comment\n"
        self.lines.append(self.text.count("\n") + 1)
        self.text += f"{name}\t{label}\n"
        return index

    def finish(self) -> list[int]:
        (self.root / "label.txt").write_text(self.text, encoding="utf-8")
        return self.lines


def write_clean(root: Path, *, identities: int = 6, shots: int = 5) -> None:
    """Write a dataset without any fault."""
    writer = Writer(root)
    for person in range(identities):
        for shot in range(shots):
            writer.add(jpeg(picture(person, shot)), person)
    writer.finish()


def write_planted(root: Path) -> Planted:
    """Write a dataset with every fault at a known place."""
    writer = Writer(root / "set")
    expected: dict[str, set[tuple[int, ...]]] = {}
    for person in range(6):
        for shot in range(6):
            writer.add(jpeg(picture(person, shot)), person)
    _plant_broken(writer, expected)
    _plant_unusual(writer, expected)
    _plant_copies(writer, expected)
    _plant_labels(writer, expected)
    verification = root / "lfw_like.bin"
    _write_verification(verification, expected)
    return Planted(root / "set", verification, expected, writer.finish())


def _plant_broken(writer: Writer, expected: dict[str, set[tuple[int, ...]]]) -> None:
    whole = jpeg(picture(0, 50))
    early_end = jpeg(picture(0, 51))
    expected["missing"] = {(writer.add(None, 0),)}
    expected["unreadable"] = {(writer.add(b"not a picture at all", 0),), (writer.add(b"", 1),)}
    cut_png = images.encode_image(picture(0, 52), suffix=".png")
    expected["truncated"] = {
        (writer.add(whole[: len(whole) // 2], 1),),
        (writer.add(early_end[: len(early_end) // 3] + b"\xff\xd9", 2),),
        (writer.add(cut_png[: len(cut_png) // 2], 2, suffix=".png"),),
    }


def _plant_unusual(writer: Writer, expected: dict[str, set[tuple[int, ...]]]) -> None:
    wide = cv2.resize(picture(0, 60), (140, 112))
    expected["odd_size"] = {(writer.add(jpeg(wide), 0),)}
    black = writer.add(jpeg((picture(1, 61) // 64).astype(np.uint8)), 1)
    white = writer.add(jpeg((252 + picture(2, 62) // 86).astype(np.uint8)), 2)
    expected["near_black"], expected["near_white"] = {(black,)}, {(white,)}
    gray = picture(3, 63).mean(axis=2).astype(np.uint8)
    expected["grayscale"] = {(writer.add(jpeg(np.repeat(gray[:, :, None], 3, axis=2)), 3),)}
    expected["cluster_reject"] = set()


def _plant_copies(writer: Writer, expected: dict[str, set[tuple[int, ...]]]) -> None:
    first = (writer.root / "images/0000.jpg").read_bytes()
    expected["exact_duplicate_same"] = {(0, writer.add(first, 0))}
    other = images.decode_crop((writer.root / "images/0008.jpg").read_bytes())  # person 1, shot 2
    across = writer.add(images.encode_image(other, suffix=".png"), 4, suffix=".png")
    expected["exact_duplicate_across"] = {(8, across)}
    expected["near_duplicate_same"] = {(13, writer.add(jpeg(picture(2, 1), quality=60), 2))}
    cropped = cv2.resize(picture(1, 3)[2:-2, 2:-2], (SIZE, SIZE))
    expected["near_duplicate_same"].add((9, writer.add(jpeg(cropped), 1)))
    brighter = np.clip(picture(3, 2).astype(np.int16) + 6, 0, 255).astype(np.uint8)
    near_across = writer.add(jpeg(brighter), 5)
    mirrored = np.ascontiguousarray(picture(0, 4)[:, ::-1])
    expected["near_duplicate_same"].add((4, writer.add(jpeg(mirrored, quality=80), 0)))
    expected["near_duplicate_across"] = {(20, near_across)}
    expected["cluster_reject"] |= {(across,), (near_across,)}
    expected["mislabelled"] = {(across,), (near_across,)}


def _plant_labels(writer: Writer, expected: dict[str, set[tuple[int, ...]]]) -> None:
    stranger = writer.add(jpeg(picture(2, 70)), 5)
    expected["cluster_reject"].add((stranger,))
    expected["mislabelled"].add((stranger,))
    expected["label_gap"] = {()}
    again = [writer.add(jpeg(picture(4, shot)), GAP_LABEL + 1) for shot in range(80, 84)]
    expected["same_person"] = {(4, GAP_LABEL + 1)}
    halves = [(20, 0), (20, 1), (21, 0), (21, 1)]
    expected["split_identity"] = {tuple(writer.add(jpeg(picture(*half)), GAP_LABEL + 2) for half in halves)}
    expected["single_image"] = {(writer.add(jpeg(picture(22, 0)), GAP_LABEL + 3),)}
    assert len(again) == 4


def _write_verification(path: Path, expected: dict[str, set[tuple[int, ...]]]) -> None:
    cropped = cv2.resize(picture(5, 1)[1:-1, 1:-1], (SIZE, SIZE))
    exact, near = jpeg(picture(3, 4)), jpeg(cropped, quality=55)  # images 22 and 31
    turned = jpeg(np.ascontiguousarray(picture(4, 2)[:, ::-1]))  # image 26
    of_person_0 = jpeg(picture(0, 96))
    strangers = [jpeg(picture(30 + number, 0)) for number in range(4)]
    pictures = [exact, strangers[0], strangers[1], near, of_person_0, turned, exact, strangers[3]]
    write_verification_set(path, pictures, [False, False, False, False])
    expected["verification_image"] = {(22,), (31,), (26,)}
    expected["verification_identity"] = {(0,), (3,), (4,), (5,), (GAP_LABEL + 1,)}
