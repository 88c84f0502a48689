"""IJB-B and IJB-C by the template protocol of insightface, from their public metadata layout (numpy only).

Layout of the folder (``ijbb``/``IJBB`` and S1/S2 instead of ``ijbc`` and G1/G2 for IJB-B)::

    meta/ijbc_face_tid_mid.txt          picture template media         1.jpg 1 69544
    meta/ijbc_template_pair_label.txt   template template 0|1          1 11065 1
    meta/ijbc_name_5pts_score.txt       picture x1 y1 ... x5 y5 score  1.jpg 46.060 62.026 ... 0.999
    meta/ijbc_1N_gallery_G1.csv         template,subject,...           a header line, then one line per picture
    meta/ijbc_1N_gallery_G2.csv
    meta/ijbc_1N_probe_mixed.csv
    loose_crop/1.jpg ...

Protocol: the features of a picture and its mirror image are added (F1) or not (F0); their norm stays in as a weight
(N1) or goes out (N0); they are weighted with the detector's score (D1) or not (D0). Features of one medium (the
frames of a video) are averaged, the media of a template are summed, the sum is L2-normalised, templates are
compared by the cosine. Sources: insightface ``recognition/_evaluation_/ijb`` (ijb_11.py, ijb_1n.py, ijb_evals.py).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.embedding import Features
from arcface_paddle.evaluation.identification import IdentificationResult, identification_result, rank_probes
from arcface_paddle.evaluation.metrics import (
    OperatingPoint,
    area_under_curve,
    operating_points,
)
from arcface_paddle.evaluation.verification import l2_normalized

FAR_TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
SETTING_NAMES = tuple(f"N{n}D{d}F{f}" for n, d, f in itertools.product((1, 0), repeat=3))
"""The eight settings, the published one first."""

_SETTING = re.compile(r"N([01])D([01])F([01])")
_BLOCK_PAIRS = 1 << 15  # of the 15.7 million pairs of IJB-C: two blocks of 512 floats each stay near 256 MiB


@dataclass(frozen=True)
class TemplateSettings:
    """The flags of the protocol; the defaults are the published N1 D1 F1.

    Attributes:
        norm_weight: N1, keep the norm of the feature as a weight.
        detector_weight: D1, weight with the detector's score.
        flip: F1, add the features of the mirrored picture.
    """

    norm_weight: bool = True
    detector_weight: bool = True
    flip: bool = True

    @property
    def name(self) -> str:
        """The setting as the published tables spell it, such as ``N1D1F1``."""
        return f"N{self.norm_weight:d}D{self.detector_weight:d}F{self.flip:d}"


def settings_by_name(names: Sequence[str]) -> list[TemplateSettings]:
    """Return the settings that the published tables spell like ``N1D1F1``; ``all`` among the names means every one.

    Raises:
        ConfigError: there is no such setting.
    """
    settings = []
    for name in SETTING_NAMES if "all" in names else names:
        match = _SETTING.fullmatch(name)
        if match is None:
            raise ConfigError(f"--setting {name!r}; allowed: all, {', '.join(SETTING_NAMES)}")
        norm, detector, flip = (digit == "1" for digit in match.groups())
        settings.append(TemplateSettings(norm_weight=norm, detector_weight=detector, flip=flip))
    return settings


@dataclass(frozen=True, eq=False)
class SubjectTemplates:
    """A gallery or probe list: ``templates`` (T,) without repeats, ``subjects`` (T,)."""

    templates: np.ndarray
    subjects: np.ndarray


@dataclass(frozen=True, eq=False)
class IjbSet:
    """The metadata of IJB-B or IJB-C.

    Attributes:
        name: ``IJBB`` or ``IJBC``.
        folder: where the pictures lie.
        pictures: (N,) file names.
        landmarks: (N, 5, 2) float32 pixels in the loose crop.
        detector_scores: (N,) float32.
        templates: (N,) int64, the template of each picture.
        media: (N,) int64, the medium of each picture.
        pairs: (P, 2) int64 templates to compare.
        issame: (P,) bool.
        galleries: by name, such as ``G1``; empty when the 1:N lists are not there.
        probes: the templates searched in the mixed 1:N protocol; None when its list is not there.
    """

    name: str
    folder: str
    pictures: list[str]
    landmarks: np.ndarray
    detector_scores: np.ndarray
    templates: np.ndarray
    media: np.ndarray
    pairs: np.ndarray
    issame: np.ndarray
    galleries: dict[str, SubjectTemplates]
    probes: Optional[SubjectTemplates]


@dataclass(frozen=True, eq=False)
class TemplateVerification:
    """1:1 of templates.

    Attributes:
        name: set and setting.
        genuine: pairs of one person.
        impostors: pairs of two persons.
        auc: area under the ROC curve; None when one kind of pair is missing.
        operating_points: TAR at the highest FAR that does not exceed the target.
        published_tar: TAR as the published script reads it off: at the point of the ROC curve whose FAR is nearest
            to the target, above or below.
        similarities: (P,) cosine of each pair.
        issame: (P,) bool.
    """

    name: str
    genuine: int
    impostors: int
    auc: Optional[float]
    operating_points: tuple[OperatingPoint, ...]
    published_tar: tuple[Optional[float], ...]
    similarities: np.ndarray
    issame: np.ndarray


@dataclass(frozen=True, eq=False)
class TemplateSearch:
    """1:N of templates.

    Attributes:
        closed: all galleries as one, every probe mated (rank-k as insightface's ijb_1n.py gives it).
        open: by gallery; probes of the other galleries' people are strangers there (TPIR@FPIR).
    """

    closed: IdentificationResult
    open: dict[str, IdentificationResult]


def image_features(
    features: Features, detector_scores: np.ndarray, *, settings: TemplateSettings = TemplateSettings()
) -> np.ndarray:
    """Weigh the features of the pictures by the protocol's flags: → (N, D) float64.

    Raises:
        DataError: F1 without a mirror pass, or scores of another number of pictures.
    """
    if settings.flip and features.mirrored is None:
        raise DataError("the F1 setting needs the features of the mirrored pictures")
    if len(features.plain) != len(detector_scores):
        raise DataError(f"{len(features.plain)} features for {len(detector_scores)} detector scores")
    weighted = features.summed if settings.flip else features.plain.astype(np.float64)
    if not settings.norm_weight:
        weighted = l2_normalized(weighted)
    if settings.detector_weight:
        weighted = weighted * detector_scores.astype(np.float64)[:, None]
    return weighted


def pool_templates(weighted: np.ndarray, templates: np.ndarray, media: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the pictures of a medium, sum the media of a template, normalise.

    Args:
        weighted: (N, D) from ``image_features``.
        templates: (N,) template of each picture.
        media: (N,) medium of each picture.

    Returns:
        (T, D) L2-normalised template embeddings, and their (T,) template numbers, ascending.
    """
    order = np.lexsort((media, templates))
    weighted, templates, media = weighted[order], templates[order], media[order]
    new_medium = np.flatnonzero(np.concatenate([[True], (np.diff(templates) != 0) | (np.diff(media) != 0)]))
    sizes = np.diff(np.concatenate([new_medium, [len(templates)]]))
    means = np.add.reduceat(weighted, new_medium, axis=0) / sizes[:, None]
    numbers, first_medium = np.unique(templates[new_medium], return_index=True)
    return l2_normalized(np.add.reduceat(means, first_medium, axis=0)), numbers


def verify_templates(
    embeddings: np.ndarray, numbers: np.ndarray, ijb: IjbSet, *, settings: TemplateSettings = TemplateSettings()
) -> TemplateVerification:
    """Compare the template pairs of the 1:1 protocol.

    Args:
        embeddings: (T, D) from ``pool_templates``.
        numbers: (T,) their template numbers, ascending.
        ijb: the metadata.
        settings: named in the result.

    Raises:
        DataError: a pair names a template without pictures.
    """
    rows = _rows_of(ijb.pairs.reshape(-1), numbers, f"{ijb.name} template pairs").reshape(-1, 2)
    similarities = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK_PAIRS):
        left, right = rows[start : start + _BLOCK_PAIRS].T
        similarities[start : start + _BLOCK_PAIRS] = np.einsum("nd,nd->n", embeddings[left], embeddings[right])
    genuine, impostor = similarities[ijb.issame], similarities[~ijb.issame]
    return TemplateVerification(
        name=f"{ijb.name} 1:1 {settings.name}",
        genuine=len(genuine),
        impostors=len(impostor),
        auc=area_under_curve(genuine, impostor),
        operating_points=operating_points(genuine, impostor, far_targets=FAR_TARGETS),
        published_tar=published_tar(genuine, impostor, FAR_TARGETS),
        similarities=similarities,
        issame=ijb.issame,
    )


def search_templates(
    embeddings: np.ndarray, numbers: np.ndarray, ijb: IjbSet, *, settings: TemplateSettings = TemplateSettings()
) -> TemplateSearch:
    """Search the mixed probes of the 1:N protocol in all galleries together and in each one.

    Raises:
        DataError: the 1:N lists are missing, or name a template without pictures.
    """
    if ijb.probes is None or not ijb.galleries:
        raise DataError(f"{ijb.name}: no 1:N gallery and probe lists in its meta folder")
    probes = embeddings[_rows_of(ijb.probes.templates, numbers, f"{ijb.name} probes")]

    def search(name: str, gallery: SubjectTemplates) -> IdentificationResult:
        entries = embeddings[_rows_of(gallery.templates, numbers, f"{ijb.name} gallery {name}")]
        assert ijb.probes is not None
        ranking = rank_probes(probes, ijb.probes.subjects, entries, gallery.subjects, pooling="best")
        return identification_result(
            ranking, name=f"{ijb.name} 1:N {name} {settings.name}", people=len(np.unique(gallery.subjects))
        )

    together = SubjectTemplates(
        np.concatenate([gallery.templates for gallery in ijb.galleries.values()]),
        np.concatenate([gallery.subjects for gallery in ijb.galleries.values()]),
    )
    return TemplateSearch(
        closed=search("+".join(ijb.galleries), together),
        open={name: search(name, gallery) for name, gallery in ijb.galleries.items()},
    )


def published_tar(
    genuine: np.ndarray, impostor: np.ndarray, far_targets: tuple[float, ...]
) -> tuple[Optional[float], ...]:
    """Read TAR off the ROC curve at the FAR nearest to each target, as the published IJB scripts do.

    The curve is scikit-learn's ``roc_curve``, which leaves out points on straight runs; of two points equally near
    or of equal FAR the one with the larger TAR counts.
    """
    if len(genuine) == 0 or len(impostor) == 0:
        return tuple(None for _ in far_targets)
    scores = np.unique(np.concatenate([genuine, impostor]))[::-1]
    accepted = [len(part) - np.searchsorted(np.sort(part), scores, side="left") for part in (impostor, genuine)]
    bend = (np.diff(accepted[0], 2) != 0) | (np.diff(accepted[1], 2) != 0)
    corners = np.flatnonzero(np.concatenate([[True], bend, [True]])) if len(scores) > 2 else np.arange(len(scores))
    far, tar = (
        np.concatenate([[0], counts[corners]])[::-1] / total
        for counts, total in zip(accepted, (len(impostor), len(genuine)))
    )
    return tuple(float(tar[np.argmin(np.abs(far - target))]) for target in far_targets)


def _rows_of(wanted: np.ndarray, numbers: np.ndarray, what: str) -> np.ndarray:
    rows = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    missing = numbers[rows] != wanted
    if missing.any():
        raise DataError(f"{what}: template {int(wanted[np.argmax(missing)])} has no picture in the metadata")
    return rows
