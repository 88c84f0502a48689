"""CenterFace over pictures of any size: one pass over a small one, several over a large one, and a second look.

Everything up to the very end is the same for every threshold, so that a lower threshold never loses a face: faces are
looked for from a fixed score on, and only the finished ones are held against the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.cards import ScanSpec
from arcface_paddle.pipeline.detection import scanning
from arcface_paddle.pipeline.detection.base import check_image, wanted
from arcface_paddle.pipeline.detection.boxes import disagreement, nms, overlaps
from arcface_paddle.pipeline.detection.centerface_maps import COLUMNS, POINTS, decode_maps, small_peaks
from arcface_paddle.pipeline.detection.network_detector import NetworkDetector
from arcface_paddle.pipeline.detection.second_look import MIRRORED_POINTS, SecondLook, rolls
from arcface_paddle.pipeline.detection.small_patches import look_at_patches
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.pipeline.settings import USUAL_DETECTION, DetectionSettings
from arcface_paddle.types import Detection

_MOST_LOOKS = 4000  # places of a picture that get a second look, the best first; a bound, no goal
_WELL_SEEN = (10, 32, 250)  # widths in the input: judged badly up to the first, well from the second to the third
_ASKEW_RAD = np.deg2rad(30)
_THIRD_LOOK = 0.15  # disagreement of two looks, in eye distances, from which on a third one decides
_THIRD_LOOK_WIDTH = 24  # pixels of the picture; smaller faces are not recognised whatever their landmarks are
_CONTAINED = 0.7  # share of a box inside of a better one from which on both are one face
_DOUBTFUL = 0.25  # score of what may be a face
_HINT, _MOST_HINTS = 0.03, 8  # least score, and number, of places at coarser levels that may be a hidden face
_FAINT = 0.005  # score of a small face at half the resolution that just shows it: of 16 to 20 pixels, 85 % have it
_FAINT_WIDTH = 4  # times the smallest face, by what half the resolution says: of 20 pixels it takes many for 50
_HINT_WIDTH = 3  # times the smallest face: wider ones are seen well at half the resolution
_FAINT_PLACES = 24  # that are looked at, the best first, in each
_FAINT_AREA = 2_100_000  # pixels of the picture, and at least; beyond 24 places come 2 of 20 small faces
_FAINT_SEEN = 0.2  # score in a patch: small faces have .25 and more, few other places as much; a second look decides
_AROUND = 0.3  # of a face's sides that is counted to it on each side: hair, ears and collar look like small faces
_BELOW = 1.8  # of its height that is counted to it below, and its width on each side there: badges and prints, too
_FAR_LARGER = 4  # times the smallest face: half the resolution sees well what is twice as large as that
_RETRY_SIDE = 320  # longer side of the input
_RETRY_BORDER = 0.25
_RETRY_NOTICED = 0.03


_NO_ROWS = np.empty((0, 5 + 2 * POINTS))


@dataclass(frozen=True, eq=False)
class _Noticed:
    """Places where a face may be.

    Attributes:
        rows: (N, 15) box, score, five points, in pixels of the picture.
        widths: (N,) of the boxes in the network's input.
        cut: (N,) whether the box ends at a seam.
        faint: (M, 15) rows of places that show too little for a second look, but may be small faces.
    """

    rows: np.ndarray
    widths: np.ndarray
    cut: np.ndarray
    faint: np.ndarray

    def take(self, indices: np.ndarray) -> _Noticed:
        return _Noticed(self.rows[indices], self.widths[indices], self.cut[indices], self.faint)


class CenterFaceDetector(NetworkDetector):
    """See ``base.Detector``.

    Args:
        model: folder of a card with the decoder ``centerface``.
        runtime: its network.
        windows: the same for small inputs, windows and patches; None for the first one.
        settings: which faces are looked for; without a smallest face, that of the card decides how fine the search
            is, and faces that are smaller yet are welcome.
    """

    def __init__(
        self,
        model: ModelFolder,
        runtime: InferenceRuntime,
        *,
        windows: Optional[InferenceRuntime] = None,
        settings: DetectionSettings = USUAL_DETECTION,
    ) -> None:
        super().__init__(model, runtime, settings=settings)
        self._scan = self._spec.scan or ScanSpec()
        self._min_face = settings.min_face or self._scan.min_face
        self._windows = windows or runtime
        self._second_look = SecondLook(self._windows, model.card.input, self._scan, stride=self._spec.strides[0])

    def follow(self, image: np.ndarray, expected: Sequence[Detection], *, threshold: float) -> list[Detection]:
        """See ``base.FollowingDetector``: the second look of a search, mirrored and not, and the mean of both."""
        check_image(image)
        if not expected:
            return []
        first, second = self._second_look.look_twice(image, _rows_of(expected))
        seen = (first[:, 4] > 0) & (second[:, 4] > 0)
        first, second = first[seen], second[seen]
        united = (first + second) / 2
        best = _distinct_rows(united, iou=self._spec.nms_iou)
        doubts = disagreement(_points(first[best]), _points(second[best]))
        return wanted(_detections(united[best], doubts), threshold=threshold, min_face=self._settings.min_face)

    def _find(self, image: np.ndarray) -> list[Detection]:
        """Find what may be a face at any threshold in a picture that stands upright."""
        faces = self._glance(image)
        if not any(face.score >= self._spec.score_threshold for face in faces):
            faces = _merged([*faces, *self._looked_at(image, self._noticed_at_retry(image))], iou=self._spec.nms_iou)
        return faces

    def _glance(self, image: np.ndarray) -> list[Detection]:
        """Go over the picture once: at the finest level only if the user asks for it, or the coarser leave doubt.

        Where those show large faces only, the finest level is looked at in patches, around the best of the places that
        may be small faces, and as a whole if one of them is.
        """
        finest, *coarser = scanning.levels(max(image.shape[:2]), min_face=self._min_face, spec=self._scan)
        noticed = self._noticed(image, coarser, _HINT)
        faces = self._looked_at(image, self._with_few_weak(noticed))
        if self._settings.min_face is None and self._shows_large_faces_only(faces):
            faces = self._with_small_ones(image, faces, noticed.faint, finest)
            if not self._shows_small_face(faces):
                return faces
        noticed = self._noticed(image, [finest], self._scan.noticed)
        return self._with_further(image, faces, noticed)

    def _with_further(self, image: np.ndarray, faces: list[Detection], noticed: _Noticed) -> list[Detection]:
        """Add the faces at places that are not yet known to be faces."""
        confirmed = np.array([face.box_xyxy for face in faces if face.score >= self._spec.score_threshold], np.float64)
        fresh = [
            not (overlaps(row[:4], confirmed.reshape(-1, 4))[0] > self._spec.nms_iou).any() for row in noticed.rows
        ]
        found = self._looked_at(image, noticed.take(np.flatnonzero(fresh)))
        return _merged([*faces, *found], iou=self._spec.nms_iou)

    def _with_small_ones(
        self, image: np.ndarray, faces: list[Detection], faint: np.ndarray, finest: float
    ) -> list[Detection]:
        """Add the small faces at faint places that lie outside of the large faces."""
        outside = faint[~_lie_in_faces((faint[:, :2] + faint[:, 2:4]) / 2, faces)]
        most = round(_FAINT_PLACES * max(1.0, image.shape[0] * image.shape[1] / _FAINT_AREA))
        best = outside[np.argsort(-outside[:, 4], kind="stable")[:most]]
        rows = look_at_patches(
            image,
            (best[:, :2] + best[:, 2:4]) / 2,
            factor=finest,
            runtime=self._windows,
            card_input=self.card.input,
            stride=self._spec.strides[0],
            noticed=_FAINT_SEEN,
        )
        rows = rows[nms(rows, iou=self._spec.nms_iou)]
        return self._with_further(image, faces, _whole(rows, (rows[:, 2] - rows[:, 0]) * finest))

    def _shows_large_faces_only(self, faces: list[Detection]) -> bool:
        """Say whether a picture shows upright faces, and none, not even a doubtful one, of a size near the smallest.

        Where people stand at all distances, some of the faces that half the resolution shows are small.
        """
        possible = [face for face in faces if face.score >= _DOUBTFUL]
        if not any(face.score >= self._spec.score_threshold for face in possible):
            return False
        return not any(self._is_small(face) or _is_askew(face) for face in possible)

    def _shows_small_face(self, faces: list[Detection]) -> bool:
        return any(self._is_small(face) and face.score >= self._spec.score_threshold for face in faces)

    def _is_small(self, face: Detection) -> bool:
        return float(face.box_xyxy[2] - face.box_xyxy[0]) < _FAR_LARGER * self._min_face

    def _noticed(self, image: np.ndarray, factors: list[float], noticed: float) -> _Noticed:
        """Find the places of a picture, at some levels, that deserve a second look."""
        size_wh = (image.shape[1], image.shape[0])
        passes = [
            self._notice(image, piece, noticed)
            for factor in factors
            for piece in scanning.pieces(size_wh, factor=factor, spec=self._scan)
            if not scanning.is_calm(image, piece)
        ]
        return self._distinct(passes)

    def _noticed_at_retry(self, image: np.ndarray) -> _Noticed:
        """Look once more at a picture that yields nothing: small, mirrored, with more around it, for less."""
        height, width = image.shape[:2]
        factor = min(1.0, _RETRY_SIDE / max(height, width))
        scaled = (max(1, round(width * factor)), max(1, round(height * factor)))
        piece = scanning.Piece((0, 0, width, height), scaled, round(_RETRY_BORDER * max(scaled)), (False,) * 4)
        mirrored = self._notice(image[:, ::-1], piece, _RETRY_NOTICED)
        rows = mirrored.rows
        rows[:, [0, 2]] = width - rows[:, [2, 0]]
        points = rows[:, 5:].reshape(-1, POINTS, 2)[:, list(MIRRORED_POINTS)] * [-1, 1] + [width, 0]
        rows[:, 5:] = points.reshape(len(rows), 2 * POINTS)
        return self._distinct([mirrored])

    def _notice(self, image: np.ndarray, piece: scanning.Piece, noticed: float) -> _Noticed:
        canvas = piece.canvas(image)
        maps = self._runtime.run([to_blob([canvas], self.card.input)])
        stride = self._spec.strides[0]
        rows = decode_maps(maps, stride=stride, threshold=noticed)
        rows = rows[nms(rows, iou=self._spec.nms_iou)]
        faint = small_peaks(
            maps,
            stride=stride,
            scores=(_FAINT, self._scan.noticed),
            widest=_FAINT_WIDTH * self._min_face * piece.factor,
            most=2 * _FAINT_PLACES,
        )
        widths = rows[:, 2] - rows[:, 0]
        rows, faint = _in_picture(rows, piece), _in_picture(faint, piece)
        return _Noticed(rows, widths, piece.is_cut(rows[:, :4]), faint)

    def _with_few_weak(self, noticed: _Noticed) -> _Noticed:
        """Keep the places that are noticed, and the best few of the weaker ones that would be large."""
        weak = noticed.rows[:, 4] < self._scan.noticed
        large = noticed.rows[:, 2] - noticed.rows[:, 0] >= _HINT_WIDTH * self._min_face
        few = weak & large & (np.cumsum(weak & large) <= _MOST_HINTS)
        return noticed.take(np.flatnonzero(~weak | few))

    def _distinct(self, passes: list[_Noticed]) -> _Noticed:
        """Unite passes: of boxes that are one, the best stays; one that a seam cuts off gives way to whole ones."""
        found = _Noticed(
            np.concatenate([_NO_ROWS, *(one.rows for one in passes)]),
            np.concatenate([np.empty(0), *(one.widths for one in passes)]),
            np.concatenate([np.empty(0, bool), *(one.cut for one in passes)]),
            np.concatenate([_NO_ROWS, *(one.faint for one in passes)]),
        )
        whole, cut = found.take(np.flatnonzero(~found.cut)), found.take(np.flatnonzero(found.cut))
        whole = whole.take(nms(whole.rows, iou=self._spec.nms_iou))
        fresh = [not (overlaps(row[:4], whole.rows[:, :4])[1] > _CONTAINED).any() for row in cut.rows]
        cut = cut.take(np.flatnonzero(fresh))
        cut = cut.take(nms(cut.rows, iou=self._spec.nms_iou))
        rows, widths, is_cut = (np.concatenate(pair) for pair in zip(_parts(whole), _parts(cut)))
        united = _Noticed(rows, widths, is_cut, found.faint)
        return united.take(np.argsort(-united.rows[:, 4], kind="stable")[:_MOST_LOOKS])

    def _looked_at(self, image: np.ndarray, noticed: _Noticed) -> list[Detection]:
        """Take the second look, and make faces of what both looks say."""
        if not len(noticed.rows):
            return []
        first, second = noticed.rows, self._second_look.look(image, noticed.rows, mirror=-1)
        seen = np.flatnonzero(second[:, 4] > 0)
        first, second, noticed = first[seen], second[seen], noticed.take(seen)
        share = _share_of_first(noticed)
        united = share[:, None] * first + (1 - share[:, None]) * second
        best = _distinct_rows(united, iou=self._spec.nms_iou)  # before further looks are spent on the others
        first, second, share, united = first[best], second[best], share[best], united[best]
        doubts = self._settle(image, first, second, share, united)
        return _detections(united, doubts)

    def _settle(
        self, image: np.ndarray, first: np.ndarray, second: np.ndarray, share: np.ndarray, united: np.ndarray
    ) -> np.ndarray:
        """Where two looks disagree, take a third, and put the middle of them all into the landmarks of ``united``.

        A first look that could not see well has no voice in that, and the doubt is that between the other two.

        Returns:
            (N,) how far two looks disagree.
        """
        doubts = disagreement(_points(first), _points(second))
        large = united[:, 2] - united[:, 0] >= _THIRD_LOOK_WIDTH
        disputed = np.flatnonzero((doubts > _THIRD_LOOK) & large & (united[:, 4] >= _DOUBTFUL))
        if not len(disputed):
            return doubts
        third = self._second_look.look(image, second[disputed], mirror=1)
        disputed, third = disputed[third[:, 4] > 0], third[third[:, 4] > 0]
        seen_badly = share[disputed] == 0
        doubts[disputed[seen_badly]] = disagreement(_points(second[disputed]), _points(third))[seen_badly]
        voices = np.stack([first[disputed, 5:], second[disputed, 5:], third[:, 5:]])
        middle = np.where(seen_badly[:, None], voices[1:].mean(axis=0), np.median(voices, axis=0))
        united[disputed, 5:] = middle
        return doubts


def _rows_of(faces: Sequence[Detection]) -> np.ndarray:
    """Return rows (N, 15) of faces with landmarks."""
    rows = np.empty((len(faces), 5 + 2 * POINTS))
    for row, face in zip(rows, faces):
        assert face.landmarks is not None, "only faces with landmarks can be followed"
        row[:4], row[4], row[5:] = face.box_xyxy, face.score, face.landmarks.reshape(-1)
    return rows


def _detections(rows: np.ndarray, doubts: np.ndarray) -> list[Detection]:
    """Return the faces of rows (N, 15), with how far (N,) two looks at their landmarks disagree."""
    return [
        Detection(
            row[:4].astype(np.float32),
            float(row[4]),
            row[5:].reshape(POINTS, 2).astype(np.float32),
            landmark_doubt=float(doubt),
        )
        for row, doubt in zip(rows, doubts)
    ]


def _in_picture(rows: np.ndarray, piece: scanning.Piece) -> np.ndarray:
    """Bring rows (N, 15) of a piece's input to the picture."""
    brought = rows.copy()
    points = piece.to_picture(rows[:, COLUMNS].reshape(len(rows), 2 + POINTS, 2))
    brought[:, COLUMNS] = points.reshape(len(rows), len(COLUMNS))
    return brought


def _whole(rows: np.ndarray, widths: np.ndarray) -> _Noticed:
    """Return places that no seam cuts."""
    return _Noticed(rows, widths, np.zeros(len(rows), bool), _NO_ROWS)


def _lie_in_faces(points: np.ndarray, faces: list[Detection]) -> np.ndarray:
    """Say which of the points (N, 2) lie in or close to one of some faces, or on the chest below it."""
    inside = np.zeros(len(points), bool)
    for face in faces:
        low, high = face.box_xyxy[:2].astype(np.float64), face.box_xyxy[2:].astype(np.float64)
        around = _AROUND * (high - low)
        inside |= ((points > low - around) & (points < high + around)).all(axis=1)
        width, height = high - low
        chest_low, chest_high = (low[0] - width, high[1]), (high[0] + width, high[1] + _BELOW * height)
        inside |= ((points > chest_low) & (points < chest_high)).all(axis=1)
    return inside


def _is_askew(face: Detection) -> bool:
    assert face.landmarks is not None
    across = face.landmarks[1] - face.landmarks[0]
    return bool(abs(np.arctan2(across[1], across[0])) > _ASKEW_RAD)


def _parts(noticed: _Noticed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return noticed.rows, noticed.widths, noticed.cut


def _points(rows: np.ndarray) -> np.ndarray:
    return rows[:, 5:].reshape(-1, POINTS, 2)


def _share_of_first(noticed: _Noticed) -> np.ndarray:
    """Return (N,) what the first look counts against the second, 0 to .5: less the worse it could see."""
    low, high, most = _WELL_SEEN
    share = 0.5 * np.clip((noticed.widths - low) / (high - low), 0, 1)
    badly_seen = noticed.cut | (noticed.widths > most) | (np.abs(rolls(noticed.rows)) > _ASKEW_RAD)
    return np.where(badly_seen, 0.0, share)


def _distinct_rows(rows: np.ndarray, *, iou: float) -> np.ndarray:
    """Return the positions of the best of rows (N, 5 + K) that are one face, best first."""
    kept: list[int] = []
    for index in np.argsort(-rows[:, 4], kind="stable"):
        shared, contained = overlaps(rows[index, :4], rows[kept, :4])
        if not ((shared > iou).any() or (contained > _CONTAINED).any()):
            kept.append(int(index))
    return np.array(kept, np.int64)


def _merged(faces: list[Detection], *, iou: float) -> list[Detection]:
    """Keep of faces that are one the best."""
    rows = np.array([[*face.box_xyxy, face.score] for face in faces], np.float64).reshape(-1, 5)
    return [faces[index] for index in _distinct_rows(rows, iou=iou)]
