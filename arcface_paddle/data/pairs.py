"""Building verification sets from one's own pictures: from a list of pairs, or by drawing pairs from a dataset.

A list of pairs has one pair per line: ``path1<TAB>path2<TAB>1`` (1 = same person, 0 = not), the same with spaces as in
insightface's ``pairs_label.txt``, or LFW's own ``pairs.txt`` (``name n1 n2`` and ``name1 n1 name2 n2`` for the
pictures ``name/name_0001.jpg``). Lines with ``#`` at their start and empty lines are skipped. A picture that has been
given another suffix since the list was made is found by its stem, see ``picture_finder``.

The published protocol cuts the pairs into 10 folds without shuffling. Drawn pairs therefore alternate between genuine
and impostor, so that every fold is balanced.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, Optional

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.bin_record import read_bin
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.data.picture_finder import PictureFinder
from arcface_paddle.errors import ConfigError, DataError, ImageError
from arcface_paddle.untrusted import integer


@dataclass(frozen=True)
class Pair:
    """Two pictures, by path, and where the list names them."""

    first: Path
    second: Path
    same: bool
    place: str


def read_pair_list(path: files.PathLike, *, root: Optional[files.PathLike] = None) -> list[Pair]:
    """Read a list of pairs.

    Args:
        path: the list.
        root: the folder that its paths are relative to; None takes the folder of the list.

    Raises:
        DataError: missing, not UTF-8, no pair in it, a line that is not a pair, or a name that fits several pictures;
            the message names file and line. A picture that is missing is an error of reading it, not of the list.
    """
    pictures = PictureFinder(Path(path).parent if root is None else root)
    try:
        lines = files.read_bytes(path).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such list of pairs") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    if any("\0" in line for line in lines):
        raise DataError(f"{path}: holds zero bytes; the list of pairs is damaged or no text")
    numbered = [
        (f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")
    ]
    is_lfw = bool(numbered) and all(word.isdigit() for word in numbered[0][1].split())
    if is_lfw:
        pairs = [_lfw_pair(place, line.split(), pictures) for place, line in numbered[1:]]
    else:
        pairs = [_plain_pair(place, line, pictures) for place, line in numbered]
    if not pairs:
        raise DataError(f"{path}: no pair in the list; expected lines of path1<TAB>path2<TAB>1 (same) or 0")
    return pairs


def _plain_pair(place: str, line: str, pictures: PictureFinder) -> Pair:
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) != 3 or not all(columns) or columns[2].strip() not in ("0", "1"):
        raise DataError(f"{place}: {line[:120]!r} is not path1<TAB>path2<TAB>1 (same) or 0 (different)")
    return _pair(place, (columns[0], columns[1]), pictures, same=columns[2].strip() == "1")


def _lfw_pair(place: str, columns: list[str], pictures: PictureFinder) -> Pair:
    same = len(columns) == 3
    names = [columns[0], columns[0]] if same else columns[0::2]
    numbers = columns[1:] if same else columns[1::2]
    counts = [integer(number) for number in numbers]
    if len(columns) not in (3, 4) or not all(number.isdigit() for number in numbers) or None in counts:
        raise DataError(f"{place}: {' '.join(columns)[:120]!r} is not a line of LFW's pairs.txt: name n1 n2")
    first, second = (f"{name}/{name}_{number:04d}.jpg" for name, number in zip(names, counts))
    return _pair(place, (first, second), pictures, same=same)


def _pair(place: str, listed: tuple[str, str], pictures: PictureFinder, *, same: bool) -> Pair:
    try:
        first, second = map(pictures.find, listed)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    return Pair(first, second, same, place)


def load_pairs(pairs: list[Pair], *, workers: int = 2) -> tuple[list[bytes], list[bool]]:
    """Read the pictures of pairs and check that they can be decoded.

    Returns:
        2N encoded pictures and N truth values, what ``write_verification_set`` takes.

    Raises:
        DataError: a picture is missing or cannot be decoded; the message names the line of the list and the path.
    """

    def load(item: tuple[Path, str]) -> bytes:
        path, place = item
        try:
            content = read_picture(path)
            images.decode_crop(content, name=str(path))
        except (DataError, ImageError) as error:
            raise DataError(f"{place}: {error}") from None
        return content

    items = [(path, pair.place) for pair in pairs for path in (pair.first, pair.second)]
    return list(ordered_map(load, items, workers=workers)), [pair.same for pair in pairs]


def read_picture(path: Path) -> bytes:
    """Return the encoded picture in a picture file or in a per-image ``.bin``.

    Raises:
        DataError: a ``.bin`` that is missing or damaged.
        ImageError: a picture file that is missing or empty.
    """
    return read_bin(path)[1] if path.suffix.lower() == ".bin" else images.read_file(path)


def draw_pairs(labels: np.ndarray, count: int, *, seed: int) -> list[tuple[int, int, bool]]:
    """Draw distinct pairs of samples, half genuine and half impostor, alternating.

    Genuine pairs come from identities drawn uniformly among those with two pictures or more, impostor pairs from two
    different identities drawn uniformly.

    Args:
        labels: (N,) integers.
        count: number of pairs; even.
        seed: the same seed and labels give the same pairs.

    Raises:
        ConfigError: ``count`` is not an even number from 2.
        DataError: the dataset does not have so many different pairs.
    """
    if count < 2 or count % 2:
        raise ConfigError(f"{count} pairs; allowed: an even number from 2, so that half are genuine")
    generator = random.Random(seed)
    order = np.argsort(labels, kind="stable")
    begins = np.flatnonzero(np.diff(labels[order])) + 1
    groups = [group.tolist() for group in np.split(order, begins)]
    genuine_plan, impostor_plan = (_Draw(kind, count // 2, generator) for kind in ("genuine", "impostor"))
    total = len(labels) * (len(labels) - 1) // 2
    same_total = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    genuine = _drawn(_genuine_pairs(groups, generator), _every_genuine(groups), same_total, genuine_plan)
    impostor = _drawn(_impostor_pairs(groups, generator), _every_impostor(groups), total - same_total, impostor_plan)
    drawn = []
    for same, different in zip(genuine, impostor):
        drawn += [(*same, True), (*different, False)]
    return drawn


def _genuine_pairs(groups: list[list[int]], generator: random.Random) -> Iterator[tuple[int, int]]:
    candidates = [group for group in groups if len(group) > 1]
    while True:
        first, second = generator.sample(generator.choice(candidates), 2)
        yield first, second


def _impostor_pairs(groups: list[list[int]], generator: random.Random) -> Iterator[tuple[int, int]]:
    while True:
        first, second = generator.sample(range(len(groups)), 2)
        yield generator.choice(groups[first]), generator.choice(groups[second])


def _every_genuine(groups: list[list[int]]) -> Iterator[tuple[int, int]]:
    for group in groups:
        yield from itertools.combinations(group, 2)


def _every_impostor(groups: list[list[int]]) -> Iterator[tuple[int, int]]:
    for one, other in itertools.combinations(groups, 2):
        yield from itertools.product(one, other)


@dataclass(frozen=True)
class _Draw:
    """How many pairs of which kind, and the source of chance."""

    kind: str
    count: int
    generator: random.Random


def _drawn(
    source: Iterator[tuple[int, int]], every_pair: Iterable[tuple[int, int]], available: int, plan: _Draw
) -> list[tuple[int, int]]:
    if plan.count > available:
        raise DataError(
            f"{plan.count} {plan.kind} pairs asked for, but the dataset has {available} different ones; "
            f"ask for at most {2 * available} pairs, or add pictures"
        )
    if available <= 4 * plan.count:
        return plan.generator.sample(list(every_pair), plan.count)  # drawing blindly would meet the same ones too often
    found: dict[tuple[int, int], tuple[int, int]] = {}
    while len(found) < plan.count:
        first, second = next(source)
        found.setdefault((min(first, second), max(first, second)), (first, second))
    return list(found.values())


def pairs_from_dataset(
    dataset: FaceDataset, count: int, *, seed: int, workers: int = 2
) -> tuple[list[bytes], list[bool]]:
    """Draw pairs from a dataset, see ``draw_pairs``, and read their pictures.

    Returns:
        2N encoded pictures and N truth values, what ``write_verification_set`` takes.

    Raises:
        ConfigError: an odd ``count``.
        DataError: not enough different pairs, or a picture that cannot be read or decoded.
        ImageError: a picture that cannot be decoded.
    """
    drawn = draw_pairs(dataset.labels, count, seed=seed)

    def load(index: int) -> bytes:
        content = dataset.read_encoded(index)
        images.decode_crop(content, name=dataset.path_of(index))
        return content

    indices = [index for first, second, _ in drawn for index in (first, second)]
    return list(ordered_map(load, indices, workers=workers)), [same for _, _, same in drawn]
