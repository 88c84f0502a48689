"""Rendering on many machines: which people a shard renders, and how finished shards become the one dataset.

A shard is an unfinished run that renders only its part of the people. The parts of all shards together are those of one
run, so the dataset that is made of them has the same bytes. Shards may write into one folder on a shared disk, or into
a folder each, which ``merge_shards`` puts together.

The same bytes need machines that compute alike. The renderer was seen to give the same pictures with AVX2 and AVX-512,
and others (up to 4 of 255 levels, in 0.2 % of the values) on a processor without FMA, that is from before 2013. So
merging renders a few pictures of every shard again and compares them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.synthetic.jobs import read_part
from arcface_paddle.synthetic.layout import SETTINGS_FILE, DatasetSettings, Layout
from arcface_paddle.untrusted import read_json

MAX_SHARDS = 1_000_000
_PERSON = re.compile("[0-9]{1,12}")
_NAMED_PEOPLE = 5


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work.

    Attributes:
        number: from 1.
        count: shards in all.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: out of range.
        """
        if not 1 <= self.number <= self.count <= MAX_SHARDS:
            raise ConfigError(
                f"shard {self.number}/{self.count}; allowed: I/N with I from 1 to N, N up to {MAX_SHARDS}"
            )

    def people(self, total: int) -> range:
        """Return the people of this shard out of ``total``; the shards share them evenly and without gaps."""
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)

    def __str__(self) -> str:
        """Return it as ``parse_shard`` reads it."""
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """Read ``I/N``.

    Raises:
        ConfigError: it is not of this form or out of range.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if match is None:
        raise ConfigError(f"shard is {text!r}; allowed: I/N, as 2/16 for the second of sixteen machines")
    return Shard(int(match[1]), int(match[2]))


def read_settings(root: Path) -> DatasetSettings:
    """Return the settings with which a synthetic dataset or shard was begun.

    Raises:
        DataError: the folder holds none, or they are damaged.
    """
    path = root / SETTINGS_FILE
    try:
        return DatasetSettings(**read_json(path))
    except FileNotFoundError:
        raise DataError(f"{root}: holds no {SETTINGS_FILE}, so it is no shard of a synthetic dataset") from None
    except (TypeError, ConfigError) as error:
        raise DataError(f"{path}: not the settings of a synthetic dataset: {error!s:.200}") from None


def common_settings(roots: Sequence[Path]) -> DatasetSettings:
    """Return the settings of all shards.

    Raises:
        DataError: two shards were begun with different settings, such as another seed.
    """
    first = read_settings(roots[0])
    for root in roots[1:]:
        other = read_settings(root)
        different = [name for name, value in first.as_json().items() if other.as_json()[name] != value]
        if different:
            name = different[0]
            raise DataError(
                f"{root}: begun with {name} {getattr(other, name)}, {roots[0]} with {getattr(first, name)}; shards of "
                "one dataset have the same settings, so leave one of them out"
            )
    return first


def merge_shards(
    target: Layout, roots: Sequence[Path], *, progress: Callable[[int], Any] = lambda pictures: None
) -> List[int]:
    """Bring the pictures of all shards into the folder of ``target``, as links where the disk allows that.

    Args:
        target: the dataset; people who are whole there already are left as they are.
        roots: folders of shards with the settings of ``target``.
        progress: called with the number of pictures done since the last call.

    Returns:
        The people who were taken over.

    Raises:
        DataError: two shards hold different pictures of a person, or nobody holds a whole one. Nothing is taken over
            then.
        OSError: the disk is full or the folder cannot be written.
    """
    shards = [Layout(root, target.settings) for root in roots]
    people = range(target.settings.people)
    sources = _find_sources(target, shards, people)
    each = target.settings.images_per_identity
    progress((len(people) - len(sources)) * each)
    for identity, source in sources.items():
        _take_over(target, source, identity)
        progress(each)
    return list(sources)


def check_rendering(roots: Sequence[Path], settings: DatasetSettings, *, pictures: int) -> None:
    """Render a few pictures of every shard again and compare them with what the shard holds.

    Args:
        roots: folders of shards.
        settings: theirs.
        pictures: how many of each shard, of as many of its people.

    Raises:
        DataError: a shard holds other pixels than this machine renders.
    """
    faces = settings.population()
    for root in roots:
        layout = Layout(root, settings)
        for identity in _spread(_people_with_parts(layout), pictures):
            number = identity % settings.images_per_identity
            lines = read_part(layout, identity)
            if lines is None:
                continue  # an unfinished person, who is not taken over from here
            content = layout.encode(faces.render(identity, number).image)
            if zlib.crc32(content) != json.loads(lines[number])["crc32"]:
                raise DataError(
                    f"{root}: picture {number} of person {identity} is not what this machine renders: the shard was "
                    "rendered by another version or kind of processor; render it again, or allow it with --recheck 0"
                )


def _find_sources(target: Layout, shards: Sequence[Layout], people: range) -> Dict[int, Layout]:
    """Return where each person is taken from who is not whole in the target."""
    sources: Dict[int, Layout] = {}
    nowhere = []
    for identity in people:
        if read_part(target, identity) is not None:
            continue
        whole = [(shard, lines) for shard in shards if (lines := read_part(shard, identity)) is not None]
        if not whole:
            nowhere.append(identity)
            continue
        other = next((shard for shard, lines in whole if lines != whole[0][1]), None)
        if other is not None:
            raise DataError(
                f"person {identity} is not the same in {whole[0][0].root} and {other.root}: rendered by different "
                "versions or kinds of processor; leave one of the two out"
            )
        sources[identity] = whole[0][0]
    if nowhere:
        named = ", ".join(map(str, nowhere[:_NAMED_PEOPLE])) + (", ..." if len(nowhere) > _NAMED_PEOPLE else "")
        raise DataError(
            f"{len(nowhere)} of {len(people)} people are whole in no shard ({named}); finish the shards with --resume"
        )
    return sources


def _take_over(target: Layout, source: Layout, identity: int) -> None:
    lines = files.read_bytes(source.part(identity))
    for number in range(source.settings.images_per_identity):
        name = source.name(identity, number)
        _link_or_copy(source.root / name, target.root / name)
    files.write_bytes(target.part(identity), lines)  # last: a person who has a part is complete


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # of a merge that was interrupted
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _spread(people: List[int], count: int) -> List[int]:
    """Return up to ``count`` of the people, from the first to the last."""
    if not people:
        return []
    return sorted({people[at] for at in np.linspace(0, len(people) - 1, count).astype(int)})


def _people_with_parts(layout: Layout) -> List[int]:
    return sorted(int(path.stem) for path in layout.part(0).parent.glob("*.jsonl") if _PERSON.fullmatch(path.stem))
