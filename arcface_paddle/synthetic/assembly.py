"""From rendered pictures to a finished dataset: label file, RecordIO, shards, verification pairs, metadata."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.difficulty import METADATA_FILE
from arcface_paddle.data.file_dataset import FolderDataset
from arcface_paddle.data.label_file import write_label_file
from arcface_paddle.data.packed import MANIFEST, pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.data.verification_set import write_verification_set
from arcface_paddle.errors import DataError
from arcface_paddle.synthetic.jobs import read_part
from arcface_paddle.synthetic.layout import VALIDATION_NAME, Layout
from arcface_paddle.synthetic.random_streams import stream


def assemble(layout: Layout) -> None:
    """Write everything that is made of the pictures of all people, each file atomically, metadata last.

    Raises:
        DataError: a picture has changed since it was rendered.
    """
    if layout.settings.format in ("bin", "image"):
        write_label_file(layout.root / "label.txt", ((e["path"], e["label"]) for e in _training_entries(layout)))
    elif layout.settings.format == "recordio":
        _write_recordio(layout)
    elif layout.settings.format == "packed":
        _write_shards(layout)
    if layout.settings.val_identities:
        _write_validation(layout)
    with files.atomic_writer(layout.root / METADATA_FILE) as out:
        for entry in _training_entries(layout):
            out.write((json.dumps(_final_entry(layout, entry), separators=(",", ":")) + "\n").encode("utf-8"))


def entries_of(layout: Layout, identity: int) -> List[Dict[str, Any]]:
    """Return what is known about the pictures of one person.

    Raises:
        DataError: a picture is missing or changed.
    """
    lines = read_part(layout, identity)
    if lines is None:
        raise DataError(f"{layout.part(identity)}: pictures of identity {identity} have changed; run again with resume")
    return [json.loads(line) for line in lines]


def _training_entries(layout: Layout) -> Iterator[Dict[str, Any]]:
    for identity in range(layout.settings.identities):
        yield from entries_of(layout, identity)


def _final_entry(layout: Layout, entry: Dict[str, Any]) -> Dict[str, Any]:
    """Name a picture by what remains when the work folder is gone."""
    number = entry["label"] * layout.settings.images_per_identity + entry["image"]
    if layout.settings.format == "recordio":
        return {**entry, "path": f"train.rec#{number + 1}"}
    if layout.settings.format == "packed":
        return {**entry, "path": f"#{number}"}
    return entry


def _write_recordio(layout: Layout) -> None:
    for name in ("train.rec", "train.rec.partial"):  # made of pictures that were not whole
        (layout.root / name).unlink(missing_ok=True)
    report = export_recordio(_rendered(layout), layout.root)
    (layout.root / "train.lst").unlink()  # lists the pictures of the work folder, which goes
    _refuse_gaps(report.bad)


def _write_shards(layout: Layout) -> None:
    # Shards that stand there were not whole, or were made of pictures that were not.
    for stale in (layout.root / MANIFEST, *layout.root.glob("shard-*")):
        stale.unlink(missing_ok=True)
    _refuse_gaps(pack_dataset(_rendered(layout), layout.root).bad)


def _rendered(layout: Layout) -> FolderDataset:
    return FolderDataset(layout.work / "pictures", image_size=layout.settings.size)


def _refuse_gaps(bad: Sequence[tuple[str, str]]) -> None:
    if bad:
        _, reason = bad[0]
        raise DataError(f"{reason}; run again with resume")


def _write_validation(layout: Layout) -> None:
    """Write the verification set of the held-out people: half genuine pairs, from different days where possible."""
    settings = layout.settings
    held_out = range(settings.identities, settings.identities + settings.val_identities)
    entries = [entries_of(layout, identity) for identity in held_out]
    rng = stream(settings.seed, "pairs")
    names: List[str] = []
    issame = [pair % 2 == 0 for pair in range(settings.val_pairs)]
    for same in issame:
        first, second = _draw_pair(rng, entries, same=same)
        names += [first["path"], second["path"]]
    pictures = {name: layout.read_picture(name) for name in set(names)}
    write_verification_set(layout.root / f"{VALIDATION_NAME}.bin", [pictures[name] for name in names], issame)


def _draw_pair(
    rng: np.random.Generator, entries: List[List[Dict[str, Any]]], *, same: bool
) -> tuple[Dict[str, Any], Dict[str, Any]]:
    if not same:
        one, other = rng.choice(len(entries), 2, replace=False)
        return _any_of(rng, entries[one]), _any_of(rng, entries[other])
    person = entries[rng.integers(len(entries))]
    first = _any_of(rng, person)
    others = [entry for entry in person if entry["session"] != first["session"]]
    others = others or [entry for entry in person if entry["image"] != first["image"]]
    return first, _any_of(rng, others)


def _any_of(rng: np.random.Generator, entries: List[Dict[str, Any]]) -> Dict[str, Any]:
    return entries[rng.integers(len(entries))]
