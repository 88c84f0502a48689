"""Exact and near duplicates among the scanned images, within and across identities."""

from __future__ import annotations

from functools import lru_cache
from typing import Iterator

import numpy as np

from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Finding, Ledger
from arcface_paddle.doctor.scan import ScanFacts, decode_checked
from arcface_paddle.pipeline.copies import CopyCandidates, Links, PictureOf
from arcface_paddle.pipeline.picture_hashes import compared_picture
from arcface_paddle.progress import progress

_PICTURES_HELD = 10_000  # grey pictures of 48 x 48 float32, 92 MB


def equal_groups(keys: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for each key that occurs more than once among ``indices``, those indices, ascending.

    Args:
        keys: (N,) digests of the whole dataset.
        indices: (M,) which images to compare, ascending.
    """
    order = indices[np.argsort(keys[indices], kind="stable")]
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    bounds = np.concatenate([[0], edges, [len(order)]])
    repeated = np.flatnonzero(np.diff(bounds) > 1)
    groups = (order[bounds[at] : bounds[at + 1]] for at in repeated)
    return iter(sorted(groups, key=lambda group: int(group[0])))


def find_exact(facts: ScanFacts, labels: np.ndarray, *, ledger: Ledger) -> list[np.ndarray]:
    """Write groups of images with equal pixels into the ledger.

    Returns:
        The groups, each a (G,) int64 array of indices, ascending.
    """
    groups = list(equal_groups(facts.pixels, facts.good()))
    for group in groups:
        same_bytes = len(np.unique(facts.content[group])) == 1
        what = "identical files" if same_bytes else "different files, identical pixels"
        ledger.add(_finding("exact_duplicate", group, labels, f"{len(group)} images, {what}"))
    return groups


def find_near(dataset: FaceDataset, facts: ScanFacts, *, settings: DoctorSettings, ledger: Ledger) -> None:
    """Write groups of nearly equal images, mirror images included, into the ledger; exact copies are left out.

    Candidates are pairs whose perceptual hashes differ in at most ``near_radius`` bits, within an identity in at most
    ``kin_radius``; a pair counts when its grey pictures, made again from the files, are as similar as copies, see
    ``copy_similarity``. Pairs that share an image make one group. Training mirrors at random, so a mirror image is as
    much a copy as any other.
    """
    good = facts.good()
    _, first = np.unique(facts.pixels[good], return_index=True)
    distinct = good[np.sort(first)]
    links = Links(copy_picture_reader(dataset), settings.near_correlation)
    everyone = CopyCandidates(facts.perceptual, distinct, radius=settings.near_radius, links=links)
    for one, other, is_mirrored in progress(sorted(everyone), desc="comparing", unit="pair"):
        links.compare(one, other, mirrored=is_mirrored)
    families = list(equal_groups(dataset.labels, distinct))

    def copies_within(family: np.ndarray) -> Links:
        found = Links(links.picture_of, settings.near_correlation)
        radius = max(settings.near_radius, settings.kin_radius)
        for one, other, is_mirrored in sorted(CopyCandidates(facts.perceptual, family, radius=radius, links=found)):
            if not found.are_linked(one, other):  # the frames of a video need not be compared each with each
                found.compare(one, other, mirrored=is_mirrored)
        return found

    with progress(total=len(families), desc="comparing", unit="id") as bar:
        for found in ordered_map(copies_within, families, workers=settings.workers):
            links.take(found)
            bar.update(1)
    for group, lowest, has_mirrored in links.groups():
        tail = ", mirrored" if has_mirrored else ""
        detail = f"{len(group)} images, correlation from {lowest:.3f}{tail}"
        ledger.add(_finding("near_duplicate", group, dataset.labels, detail, score=lowest))


def copy_picture_reader(dataset: FaceDataset) -> PictureOf:
    """Return a function that reads the grey picture of an image again and remembers the last 10,000 (90 MB)."""

    @lru_cache(maxsize=_PICTURES_HELD)
    def picture_of(index: int) -> np.ndarray:
        return compared_picture(decode_checked(dataset.read_encoded(index)))

    return picture_of


def _finding(kind: str, group: np.ndarray, labels: np.ndarray, detail: str, *, score: float = 1.0) -> Finding:
    owners = tuple(np.unique(labels[group]).tolist())
    scope = "same" if len(owners) == 1 else "across"
    return Finding(f"{kind}_{scope}", detail, tuple(group.tolist()), owners, score=score)
