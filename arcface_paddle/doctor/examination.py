"""The whole examination: labels, scan, duplicates, overlap, identities; gives a report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.doctor import duplicates, identities, overlap
from arcface_paddle.doctor.crop_embeddings import EmbeddingCache, EmbeddingStore, fill_store
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Finding, Ledger
from arcface_paddle.doctor.labels import LabelFacts, examine_labels
from arcface_paddle.doctor.scan import ColorFacts, ScanFacts, Status, scan
from arcface_paddle.evaluation.embedder import Embed

_COLORED_NEEDED = 20  # coloured pictures, below which the share says nothing
_RED_SHARE_NEEDED = 0.25  # skin is redder than blue, so in RGB nearly all are and in BGR hardly any; odd light is rare


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that an examination found out.

    Attributes:
        dataset: what was examined; pictures and paths are read from it again.
        settings: what counted as a finding.
        labels: facts about the labels, always of the whole dataset.
        scan: facts about the images that were examined.
        ledger: the findings.
        exact_groups: groups of images with equal pixels, each (G,) int64, ascending.
        in_verification: indices of the images that stand in a verification set, ascending, int64.
        identities: what the embeddings say; None without a recogniser.
        verification: the verification sets by name.
        seconds: duration of the examination.
    """

    dataset: FaceDataset
    settings: DoctorSettings
    labels: LabelFacts
    scan: ScanFacts
    ledger: Ledger
    exact_groups: list[np.ndarray]
    in_verification: np.ndarray
    identities: Optional[identities.IdentityFacts]
    verification: dict[str, VerificationSet]
    seconds: float

    @property
    def examined(self) -> int:
        """Number of images that were read."""
        return int((self.scan.status != Status.NOT_EXAMINED).sum())

    @property
    def problems(self) -> int:
        """Number of findings that count as problems."""
        return self.ledger.problem_count(self.settings.ignored)


def examine(
    dataset: FaceDataset,
    settings: Optional[DoctorSettings] = None,
    *,
    verification_sets: Sequence[VerificationSet] = (),
    embedder: Optional[Embed] = None,
    cache: Optional[EmbeddingCache] = None,
) -> Report:
    """Examine a dataset.

    Every broken image is listed; none stops the examination. Nothing is changed on the disk.

    Args:
        dataset: any reader.
        settings: what counts as a finding; the defaults when None.
        verification_sets: sets that the dataset must not share images or people with.
        embedder: a recogniser, see ``evaluation.embedder.Embed``; without it the labels are not doubted.
        cache: keeps the embeddings, so that an examination that was interrupted or is repeated goes on with them.

    Raises:
        ImageError: a picture of a verification set cannot be decoded.
        DataError: the embedder misbehaves, or a file changed during the examination.
    """
    settings = settings or DoctorSettings()
    begin = time.perf_counter()
    ledger = Ledger(settings.max_listed)
    label_facts = examine_labels(dataset.labels, dataset.num_classes, ledger=ledger)
    facts = scan(dataset, choose_images(dataset.labels, settings), settings=settings, ledger=ledger)
    _judge_channel_order(facts.colors, ledger)
    exact_groups = duplicates.find_exact(facts, dataset.labels, ledger=ledger)
    duplicates.find_near(dataset, facts, settings=settings, ledger=ledger)
    pictures = overlap.index_verification_sets(verification_sets) if verification_sets else None
    in_verification = np.empty(0, dtype=np.int64)
    if pictures is not None:
        in_verification = overlap.find_overlap(dataset, facts, pictures=pictures, settings=settings, ledger=ledger)
    identity_facts = None
    if embedder is not None and len(facts.good()):
        cached_at = None if cache is None else cache.file_of(facts.content[facts.good()])
        with EmbeddingStore(facts.good(), cached_at=cached_at) as store:
            fill_store(store, dataset, embedder=embedder, settings=settings)
            identity_facts = _examine_people(store, dataset.labels, settings=settings, ledger=ledger)
        if pictures is not None:
            overlap.find_identity_overlap(pictures, identity_facts, embedder=embedder, settings=settings, ledger=ledger)
    return Report(
        dataset=dataset,
        settings=settings,
        labels=label_facts,
        scan=facts,
        ledger=ledger,
        exact_groups=exact_groups,
        in_verification=in_verification,
        identities=identity_facts,
        verification={} if pictures is None else pictures.sets,
        seconds=time.perf_counter() - begin,
    )


def _examine_people(
    store: EmbeddingStore, labels: np.ndarray, *, settings: DoctorSettings, ledger: Ledger
) -> identities.IdentityFacts:
    facts = identities.examine_identities(store, labels, settings=settings, ledger=ledger)
    identities.find_same_person(facts, settings, ledger=ledger)
    identities.find_mislabelled(store, labels, facts=facts, settings=settings, ledger=ledger)
    return facts


def choose_images(labels: np.ndarray, settings: DoctorSettings) -> np.ndarray:
    """Return the indices to examine, ascending: all, or whole identities in random order up to ``sample`` images.

    Whole identities, because most faults show only among the images of one; the last one may be cut.
    """
    if settings.sample is None or settings.sample >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    known, numbers = np.unique(labels, return_inverse=True)
    place = np.random.default_rng(settings.seed).permutation(len(known))
    order = np.argsort(place[numbers.ravel()], kind="stable")
    return np.sort(order[: settings.sample]).astype(np.int64)


def _judge_channel_order(colors: ColorFacts, ledger: Ledger) -> None:
    """Suspect BGR when few middles of coloured pictures are redder than blue; skin of every tone is, in RGB."""
    decided = colors.red_wins + colors.blue_wins
    if decided < _COLORED_NEEDED:
        return
    share = colors.red_wins / decided
    if share < _RED_SHARE_NEEDED:
        detail = f"the middle is redder than blue in only {share:.0%} of {decided} coloured images; BGR taken for RGB?"
        ledger.add(Finding("channel_order", detail, score=share))
