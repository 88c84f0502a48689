"""Images and people of a dataset that also stand in verification sets."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Iterable, Sequence

import numpy as np

from arcface_paddle import images
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.doctor.crop_embeddings import embed_checked, to_crop
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.duplicates import copy_picture_reader
from arcface_paddle.doctor.findings import Finding, Ledger, VerificationRef
from arcface_paddle.doctor.identities import IdentityFacts
from arcface_paddle.doctor.scan import ScanFacts
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.pipeline.hamming import hamming_join
from arcface_paddle.pipeline.picture_hashes import (
    compared_picture,
    copy_similarity,
    gray_thumbnail,
    mirrored_hash,
    perceptual_hash,
    pixel_digest,
)
from arcface_paddle.progress import progress

_REFS_SHOWN = 8


@dataclass(frozen=True, eq=False)
class VerificationPictures:
    """The distinct pictures of some verification sets.

    Attributes:
        sets: the sets by name.
        refs: per distinct picture, where it stands.
        pixels: (V,) uint64 pixel digests, ascending.
        perceptual: (V,) uint64 perceptual hashes.
    """

    sets: dict[str, VerificationSet]
    refs: list[tuple[VerificationRef, ...]]
    pixels: np.ndarray
    perceptual: np.ndarray

    def decode(self, picture: int) -> np.ndarray:
        """Decode a distinct picture in its own size, (H, W, 3) uint8 RGB."""
        return decode_reference(self.sets, self.refs[picture][0])


def decode_reference(sets: dict[str, VerificationSet], ref: VerificationRef) -> np.ndarray:
    """Decode an image of a verification set in its own size. Raises ``ImageError`` when it is not a picture."""
    name = f"{ref.set_name}: picture {ref.image}"
    return images.decode_crop(sets[ref.set_name].images[ref.image], name=name)


def index_verification_sets(sets: Sequence[VerificationSet]) -> VerificationPictures:
    """Decode and fingerprint all pictures; one that stands in several pairs (usual in LFW) becomes one.

    Raises:
        ImageError: a picture cannot be decoded; the message names set and number.
    """
    by_name = {entry.name: entry for entry in sets}
    refs_of: dict[int, list[VerificationRef]] = defaultdict(list)
    hash_of: dict[int, int] = {}
    for entry in by_name.values():
        for number in range(len(entry.images)):
            ref = VerificationRef(entry.name, number)
            image = decode_reference(by_name, ref)
            digest = pixel_digest(image)
            refs_of[digest].append(ref)
            if digest not in hash_of:
                hash_of[digest] = perceptual_hash(gray_thumbnail(image))
    digests = sorted(refs_of)
    return VerificationPictures(
        sets=by_name,
        refs=[tuple(refs_of[digest]) for digest in digests],
        pixels=np.array(digests, dtype=np.uint64),
        perceptual=np.array([hash_of[digest] for digest in digests], dtype=np.uint64),
    )


def find_overlap(
    dataset: FaceDataset,
    facts: ScanFacts,
    *,
    pictures: VerificationPictures,
    settings: DoctorSettings,
    ledger: Ledger,
) -> np.ndarray:
    """Write images of the dataset that stand in a verification set, exactly or nearly, into the ledger.

    Returns:
        Their indices, ascending, int64.
    """
    good = facts.good()
    at = np.minimum(np.searchsorted(pictures.pixels, facts.pixels[good]), len(pictures.pixels) - 1)
    equal = pictures.pixels[at] == facts.pixels[good]
    matches = {
        index: _Match(picture, 1.0, "identical pixels")
        for index, picture in zip(good[equal].tolist(), at[equal].tolist())
    }
    _match_near(dataset, facts, pictures=pictures, settings=settings, matches=matches)
    for index, match in sorted(matches.items()):
        refs = pictures.refs[match.picture]
        owner = (int(dataset.labels[index]),)
        detail = f"{_places(refs)}, {match.how}"
        ledger.add(Finding("verification_image", detail, (index,), owner, match.similarity, refs[:_REFS_SHOWN]))
    return np.array(sorted(matches), dtype=np.int64)


@dataclass(frozen=True)
class _Match:
    """The verification picture that an image equals most, how similar (-1 to 1), and that in words."""

    picture: int
    similarity: float
    how: str


def _match_near(
    dataset: FaceDataset,
    facts: ScanFacts,
    *,
    pictures: VerificationPictures,
    settings: DoctorSettings,
    matches: dict[int, _Match],
) -> None:
    """Add images that are near a verification picture or its mirror image to ``matches``, which has the exact ones."""
    candidates = np.setdiff1d(facts.good(), np.array(list(matches), dtype=np.int64))
    picture_of, threshold = copy_picture_reader(dataset), settings.near_correlation
    radius = max(settings.near_radius, settings.verification_radius)
    for codes, tail in ((pictures.perceptual, ""), (mirrored_hash(pictures.perceptual), ", mirrored")):
        pairs = hamming_join(codes, facts.perceptual[candidates], radius=radius).tolist()
        for picture, row in progress(pairs, desc="comparing with verification sets", unit="pair"):
            index = int(candidates[row])
            known = compared_picture(pictures.decode(picture))
            known = np.ascontiguousarray(known[:, ::-1]) if tail else known
            similarity = copy_similarity(known, picture_of(index), threshold=threshold)
            best = matches[index].similarity if index in matches else threshold
            if similarity >= best:
                matches[index] = _Match(picture, similarity, f"correlation {similarity:.3f}{tail}")


def find_identity_overlap(
    pictures: VerificationPictures,
    facts: IdentityFacts,
    *,
    embedder: Embed,
    settings: DoctorSettings,
    ledger: Ledger,
) -> None:
    """Write identities whose centroid is at least ``merge_similarity`` similar to a verification picture.

    The stricter of the thresholds, because every picture meets every identity; even so they are candidates for a
    look: among many identities some strangers are similar by chance.
    """
    hits: dict[tuple[int, str], list[tuple[float, VerificationRef]]] = defaultdict(list)
    for start in range(0, len(pictures.refs), settings.embed_batch):
        block = range(start, min(start + settings.embed_batch, len(pictures.refs)))
        crops = np.stack([to_crop(pictures.decode(picture)) for picture in block])
        similarity = embed_checked(embedder, crops) @ facts.centroids.T
        for row, column in zip(*np.nonzero(similarity >= settings.merge_similarity)):
            ref = pictures.refs[block[int(row)]][0]
            hits[(int(column), ref.set_name)].append((float(similarity[row, column]), ref))
    for (column, set_name), found in sorted(hits.items()):
        found.sort(key=lambda hit: (-hit[0], hit[1].image))
        label = int(facts.labels[column])
        detail = f"label {label}: {len(found)} pictures of {set_name} up to {found[0][0]:.3f} similar to its centroid"
        refs = tuple(ref for _, ref in found[:_REFS_SHOWN])
        sample = (int(facts.medoids[column]),)
        ledger.add(Finding("verification_identity", detail, sample, (label,), found[0][0], refs))


def _places(refs: Iterable[VerificationRef]) -> str:
    named = [f"{ref.set_name} picture {ref.image} (pair {ref.pair})" for ref in refs]
    shown = ", ".join(named[:3])
    return shown if len(named) <= 3 else f"{shown} and {len(named) - 3} more"
