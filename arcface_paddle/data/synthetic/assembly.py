"""From rendered pictures to a finished dataset: label file, RecordIO, shards, verification pairs, metadata."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.file_dataset import FolderDataset
from arcface_paddle.data.label_file import write_label_file
from arcface_paddle.data.packed import MANIFEST, pack_dataset
from arcface_paddle.data.recordio import ImageRecord, encode_image_record, write_record
from arcface_paddle.data.synthetic.jobs import read_part
from arcface_paddle.data.synthetic.layout import METADATA_FILE, VALIDATION_NAME, Layout
from arcface_paddle.data.synthetic.streams import stream
from arcface_paddle.data.verification import write_verification_set
from arcface_paddle.errors import DataError


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
    """Write train.rec, train.idx and property in the layout of the published sets.

    Record 0 holds the range of the identity records behind the pictures; each of those the range of its pictures.
    """
    settings = layout.settings
    per_identity = settings.images_per_identity
    pictures = settings.identities * per_identity
    offsets = []
    with files.atomic_writer(layout.root / "train.rec") as out:
        position = 0

        def append(labels: tuple[float, ...], content: bytes) -> None:
            nonlocal position
            offsets.append(position)
            position += write_record(out, encode_image_record(ImageRecord(labels, len(offsets) - 1, content)))

        append((float(pictures + 1), float(pictures + 1 + settings.identities)), b"")
        for entry in _training_entries(layout):
            append((float(entry["label"]),), layout.read_picture(entry["path"]))
        for identity in range(settings.identities):
            append((float(identity * per_identity + 1), float((identity + 1) * per_identity + 1)), b"")
    files.write_text(layout.root / "train.idx", "".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets)))
    files.write_text(layout.root / "property", f"{settings.identities},{settings.size},{settings.size}\n")


def _write_shards(layout: Layout) -> None:
    # Shards that stand there were not whole, or were made of pictures that were not.
    for stale in (layout.root / MANIFEST, *layout.root.glob("shard-*")):
        stale.unlink(missing_ok=True)
    dataset = FolderDataset(layout.work / "pictures", image_size=layout.settings.size)
    pack_dataset(dataset, layout.root)


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
