"""The card of a model folder (``model.json``): what the model is, what goes in, what comes out, when to trust it.

Everything that the pipeline must know about a model stands in its card and nowhere in the code: input size, colour
order and normalisation, anchors, alignment template, similarity thresholds. ``read_card`` checks it, ``write_card``
writes it with the hashes of the files beside it, ``edit_card`` changes one that is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.card_parsing import parse_dataclass
from arcface_paddle.untrusted import read_json

CARD_NAME = "model.json"
CARD_FORMAT = 1

DETECTION = "face detection"
REFINEMENT = "face refinement"
RECOGNITION = "face recognition"
TASKS = (DETECTION, REFINEMENT, RECOGNITION)

DECODERS = ("blazeface", "centerface", "mtcnn", "rows", "scrfd")


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the network's input: (N, 3, H, W) float32 = (pixel * scale - mean) / std.

    Attributes:
        size_wh: width and height in pixels; for a fully convolutional detector the size it was made for.
        color_order: ``"RGB"`` or ``"BGR"``, the order of the three channels.
        mean: per channel, subtracted after scaling.
        std: per channel, divided by.
        scale: factor on pixels of 0 to 255.
        interpolation: how pictures are resized or warped: ``"area"`` (averages when shrinking, bilinear when
            growing) or ``"bilinear"``.
    """

    size_wh: tuple[int, int]
    color_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    interpolation: str = "area"

    def problem(self) -> str:
        if len(self.size_wh) != 2 or min(self.size_wh) < 1:
            return f"size_wh is {list(self.size_wh)}; allowed: two positive numbers"
        if self.color_order not in ("RGB", "BGR"):
            return f"color_order is {self.color_order!r}; allowed: 'RGB', 'BGR'"
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            return "mean and std must have three values each, std above 0"
        if self.interpolation not in ("area", "bilinear"):
            return f"interpolation is {self.interpolation!r}; allowed: 'area', 'bilinear'"
        return ""


@dataclass(frozen=True)
class ScaleSpec:
    """One pass of the detector over a picture.

    Attributes:
        size: longer side of the network's input in pixels, a multiple of the largest stride.
        border: black border around the picture as a fraction of its longer side, so that a face that fills the
            frame gets the surroundings that the network expects.
        square: whether the input is always size x size; otherwise the shorter side is only as long as it must be.
        from_longer_side: the pass is made only for pictures whose longer side has at least so many pixels.
        min_score: candidates of this pass need at least this score, whatever the threshold.
    """

    size: int
    border: float = 0.0
    square: bool = True
    from_longer_side: int = 0
    min_score: float = 0.0

    def problem(self) -> str:
        if self.size < 1 or not 0 <= self.border < 1:
            return f"size is {self.size} and border {self.border}; allowed: above 0, and from 0 to below 1"
        return ""


@dataclass(frozen=True)
class ScanSpec:
    """How a detector that sees small and large faces alike goes over pictures of any size.

    Attributes:
        min_face: width in pixels of the picture of the smallest face that is looked for, unless the user says.
        face_in_input: width in pixels of the network's input at which a face is still noticed; pictures are shrunk
            until the smallest face has it.
        shrink_from: a picture whose longer side is not longer is not shrunk for that.
        single_pass: longer side of the input up to which one pass over the whole picture is all.
        tile: longest side of a piece of a picture that is larger.
        overlap: of neighbouring pieces; a face that is not larger lies whole in one of them.
        border: black border around whole pictures, as a fraction of the longer side of the input.
        noticed: score from which on a place gets a second look.
        window: side of the square input of the second look, a multiple of 32.
        face_in_window: width of the face in it.
    """

    min_face: int = 16
    face_in_input: int = 10
    shrink_from: int = 160
    single_pass: int = 640
    tile: int = 1216
    overlap: int = 96
    border: float = 0.12
    noticed: float = 0.08
    window: int = 96
    face_in_window: int = 44

    def problem(self) -> str:
        lengths = (self.min_face, self.face_in_input, self.single_pass, self.window, self.face_in_window)
        if min(lengths) < 1 or min(self.shrink_from, self.overlap) < 0:
            return "lengths must be above 0"
        if self.tile <= 2 * self.overlap or self.overlap < 2 * self.face_in_input:
            return f"tile is {self.tile} and overlap {self.overlap}; allowed: tile > 2 overlap >= 4 face_in_input"
        if self.window % 32 or self.face_in_window >= self.window:
            return f"window is {self.window}; allowed: a multiple of 32 above face_in_window"
        if not 0 <= self.border < 1 or not 0 < self.noticed < 1:
            return "border must be from 0 to 1, noticed between 0 and 1"
        return ""


@dataclass(frozen=True)
class CascadeSpec:
    """How MTCNN's networks follow each other.

    Attributes:
        filter: name of the model that looks at what the first network proposes (RNet).
        min_face: pixels of the smallest face that is looked for, unless the user says.
        factor: by which the picture shrinks from one pass to the next.
        min_probability: of the first network, from which on a place goes on.
        level_iou: overlap above which two places of one pass are one; among all passes it is ``nms_iou``.
    """

    filter: str = ""
    min_face: int = 20
    factor: float = 0.709
    min_probability: float = 0.6
    level_iou: float = 0.5

    def problem(self) -> str:
        if not self.filter:
            return "filter is empty; allowed: the name of a model for face refinement"
        if self.min_face < 1 or not 0.1 <= self.factor <= 0.95:
            return f"min_face is {self.min_face} and factor {self.factor}; allowed: 1 or more, .1 to .95"
        if not 0 < self.min_probability < 1 or not 0 < self.level_iou <= 1:
            return "min_probability must be between 0 and 1, level_iou above 0 and at most 1"
        return ""


@dataclass(frozen=True)
class DetectorSpec:
    """What a detector's output means.

    Attributes:
        decoder: ``"blazeface"`` (head maps with anchors), ``"centerface"`` (maps of centres, sizes and landmarks),
            ``"mtcnn"`` (the first of three networks), ``"rows"`` (class, score, left, top, right, bottom) or
            ``"scrfd"`` (tables with anchors).
        score_threshold: faces with a lower score are dropped unless the user asks for another threshold.
        scales: the passes whose candidates are united.
        strides: pixels between neighbouring cells of each head map; none for rows.
        anchors: number of anchors in a cell, for each stride.
        keypoints: number of points that follow each box. blazeface: the first four are the image-left eye, the
            image-right eye, the nose and the centre of the mouth. scrfd: 5, those of ``types.Detection``, or 0.
        score_clip: logits are clipped at plus and minus this value.
        nms_iou: boxes that overlap more are merged into one, weighted by score.
        refiner: name of the model that refines and checks the candidates; empty for none.
        scan: how pictures of any size are gone over, centerface only, in place of ``scales``.
        cascade: mtcnn only; the last network is the refiner, and the size in ``scales`` that of a piece of a picture.
    """

    decoder: str
    score_threshold: float
    scales: tuple[ScaleSpec, ...]
    strides: tuple[int, ...] = ()
    anchors: tuple[int, ...] = ()
    keypoints: int = 0
    score_clip: float = 80.0
    nms_iou: float = 0.3
    refiner: str = ""
    scan: Optional[ScanSpec] = None
    cascade: Optional[CascadeSpec] = None

    def problem(self) -> str:
        if self.decoder not in DECODERS:
            return f"decoder is {self.decoder!r}; allowed: {', '.join(DECODERS)}"
        if not 0 < self.score_threshold < 1:
            return f"score_threshold is {self.score_threshold}; allowed: between 0 and 1"
        if not self.scales:
            return "scales is empty"
        if any(count < 1 for count in self.strides + self.anchors):
            return f"strides are {list(self.strides)} and anchors {list(self.anchors)}; allowed: numbers above 0"
        if self.decoder in ("blazeface", "scrfd") and (not self.strides or len(self.strides) != len(self.anchors)):
            return f"a {self.decoder} decoder needs as many strides as anchors, at least one"
        if self.decoder == "blazeface" and self.keypoints < 4:
            return f"a blazeface decoder has 4 keypoints or more (here {self.keypoints})"
        if self.decoder == "scrfd" and self.keypoints not in (0, 5):
            return f"a scrfd decoder has 0 or 5 keypoints (here {self.keypoints})"
        if self.decoder == "centerface" and not self.strides:
            return "a centerface decoder needs a stride"
        if self.decoder == "mtcnn" and (self.cascade is None or not self.refiner or self.scales[0].size < 64):
            return "an mtcnn decoder needs a cascade, a refiner, and pieces of 64 pixels or more"
        if any(scale.size % stride for scale in self.scales for stride in self.strides):
            return f"the sizes of scales must be multiples of the strides {list(self.strides)}"
        return ""


@dataclass(frozen=True)
class RefinerSpec:
    """How candidates are refined and which of two that show the same face stays.

    Attributes:
        crop_factor: side of the first square crop in sides of the candidate's box.
        passes: number of runs; each crops the square of the box that the one before gave.
        min_probability: candidates with a lower face probability are dropped.
        same_points_distance: mean offset of the five points' coordinates, in eye distances, below which two are one
            face.
        same_box_iou: overlap above which two are one face.
        same_box_containment: share of the smaller box inside the larger one above which two are one face.
    """

    crop_factor: float
    passes: int
    min_probability: float
    same_points_distance: float
    same_box_iou: float
    same_box_containment: float

    def problem(self) -> str:
        if self.crop_factor <= 0 or self.passes < 1 or not 0 <= self.min_probability <= 1:
            return "crop_factor must be above 0, passes at least 1, min_probability between 0 and 1"
        return ""


@dataclass(frozen=True)
class Calibration:
    """Similarity thresholds of a recogniser (see ``SimilaritySpec``) and where they come from.

    Attributes:
        far_1e2, far_1e3, far_1e4: two pictures count as one person from this similarity on, at a false acceptance
            rate of 1e-2, 1e-3, 1e-4; None when the data did not suffice.
        identification: default threshold of a search in a gallery, where every stranger meets many people.
        statement: on what data, how, and when they were found.
        logistic: (slope, intercept): probability of the same person = 1 / (1 + exp(-(slope * similarity +
            intercept))) for equal priors; None when not fitted.
        tail: how similar strangers are: (FAR, similarity) with falling FAR: two pictures of two people are that
            similar or more at that rate. From it follows the threshold of a search, see ``thresholds``; without it
            every search uses ``identification``.
        tail_evidence: on what pictures the tail was measured, in a sentence.
    """

    far_1e2: Optional[float]
    far_1e3: Optional[float]
    far_1e4: Optional[float]
    identification: float
    statement: str
    logistic: Optional[tuple[float, float]] = None
    tail: tuple[tuple[float, float], ...] = ()
    tail_evidence: str = ""

    def problem(self) -> str:
        values = [self.far_1e2, self.far_1e3, self.far_1e4, self.identification]
        if any(value is not None and not -1 <= value <= 1 for value in values):
            return "thresholds are similarities, between -1 and 1"
        return self._problem_of_tail()

    def _problem_of_tail(self) -> str:
        rates = [far for far, _ in self.tail]
        similarities = [similarity for _, similarity in self.tail]
        if len(self.tail) == 1 or any(not 0 < far < 1 for far in rates):
            return "tail has two or more rates between 0 and 1"
        if any(not -1 <= similarity <= 1 for similarity in similarities):
            return "the similarities of tail are between -1 and 1"
        if any(one <= other for one, other in zip(rates, rates[1:])):
            return "the rates of tail fall"
        if any(one > other for one, other in zip(similarities, similarities[1:])):
            return "the similarities of tail rise as its rates fall"
        return ""


@dataclass(frozen=True)
class SimilaritySpec:
    """How the cosine of two embeddings becomes a similarity that means about the same for every recogniser.

    similarity = (cosine - offset) / scale, cut off at -1 and 1. Where strangers of one network stand at a cosine of
    .86 and those of another at 0, thresholds and habits would otherwise not carry over.

    Attributes:
        offset: the cosine that becomes 0.
        scale: how much more cosine becomes 1.
    """

    offset: float = 0.0
    scale: float = 1.0

    def problem(self) -> str:
        if not self.scale > 0 or not -1 <= self.offset <= 1:
            return f"offset is {self.offset} and scale {self.scale}; allowed: -1 to 1, and above 0"
        return ""

    def of_cosine(self, cosine: np.ndarray) -> np.ndarray:
        """Return similarities, -1 to 1, of cosines of any shape."""
        return np.clip((cosine - np.float32(self.offset)) / np.float32(self.scale), -1, 1)

    def similarity_of(self, cosine: float) -> float:
        """Return the similarity, -1 to 1, of one cosine."""
        return max(-1.0, min(1.0, (cosine - self.offset) / self.scale))

    def cosine_of(self, similarity: float) -> float:
        """Return the cosine that has this similarity, for code that compares cosines."""
        return self.offset + self.scale * similarity


PLAIN_COSINE = SimilaritySpec()
"""The similarity of recognisers whose cosine needs no change."""


@dataclass(frozen=True)
class RecognizerSpec:
    """What a recogniser's output means.

    Attributes:
        embedding_size: D, length of a feature; 0 when the model must be asked.
        template: (5, 2) x, y of the image-left eye, image-right eye, nose tip, image-left and image-right mouth
            corner in the aligned crop, pixels.
        calibration: its similarity thresholds; None for a model that was never calibrated.
        similarity: what a cosine is worth.
        box_crop_factor: side of the square crop, in longer sides of the box, for faces without landmarks.
        feature_norms: lengths that the features of useless and of good pictures have before normalisation, by which
            ``quality`` judges; None when that is not known.
    """

    embedding_size: int
    template: tuple[tuple[float, float], ...]
    calibration: Optional[Calibration] = None
    similarity: SimilaritySpec = PLAIN_COSINE
    box_crop_factor: float = 1.0
    feature_norms: Optional[tuple[float, float]] = None

    def problem(self) -> str:
        if self.embedding_size < 0:
            return f"embedding_size is {self.embedding_size}"
        if len(self.template) != 5 or any(len(point) != 2 for point in self.template):
            return "template must be five points x, y"
        if self.feature_norms is not None and not 0 <= self.feature_norms[0] < self.feature_norms[1]:
            return "feature_norms are two lengths, the second the larger"
        return ""


@dataclass(frozen=True)
class FusionSpec:
    """Of which recognisers one is made that has no network of its own; ``fusion`` says how.

    Attributes:
        members: names of known recognisers, or of folders beside this one; at least two.
        weights: weight of each member's similarity.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]

    def problem(self) -> str:
        if len(self.members) < 2 or len(set(self.members)) != len(self.members):
            return f"members are {list(self.members)}; allowed: two or more different recognisers"
        if len(self.weights) != len(self.members) or min(self.weights) <= 0:
            return f"weights are {list(self.weights)}; allowed: one above 0 for each member"
        return ""


@dataclass(frozen=True)
class ModelCard:
    """A model's card; exactly one of ``detector``, ``refiner`` and ``recognizer`` is given, by ``task``.

    Attributes:
        task: one of ``TASKS``.
        name: short name for tables and messages.
        version: version of the converted or exported model.
        source: where the weights come from, with the name and hash of the file.
        licence: what was found at the source, with the restrictions of the training data.
        input: how a picture becomes the network's input.
        output: the network's outputs in words.
        notice: what a user must know before using it; may be empty.
        engine: the runtime engine that it was made for, such as ``openvino`` for INT8; empty for the default.
        fusion: of which recognisers it is made; ``input`` and template are then those of the first. None for a model
            with a network of its own.
        files: SHA-256 of each file of the folder by name.
    """

    task: str
    name: str
    version: str
    source: str
    licence: str
    input: InputSpec
    output: str
    notice: str = ""
    engine: str = ""
    detector: Optional[DetectorSpec] = None
    refiner: Optional[RefinerSpec] = None
    recognizer: Optional[RecognizerSpec] = None
    fusion: Optional[FusionSpec] = None
    files: Mapping[str, str] = field(default_factory=dict)

    def problem(self) -> str:
        if self.task not in TASKS:
            return f"task is {self.task!r}; allowed: {', '.join(TASKS)}"
        given = {DETECTION: self.detector, REFINEMENT: self.refiner, RECOGNITION: self.recognizer}
        if [task for task, spec in given.items() if spec is not None] != [self.task]:
            return f"a card for {self.task} has exactly the section of that task"
        if self.fusion is not None and self.recognizer is None:
            return "only a recogniser can be a fusion"
        return ""

    def preprocessing_sha256(self) -> str:
        """Return a hash of all that turns a photograph into the input: two equal hashes give comparable crops."""
        template = self.recognizer.template if self.recognizer else ()
        facts = json.dumps([dataclasses.asdict(self.input), template], sort_keys=True)
        return hashlib.sha256(facts.encode("utf-8")).hexdigest()


def read_card(path: files.PathLike) -> ModelCard:
    """Read and check a ``model.json``.

    Raises:
        ModelFileError: no such file, not JSON, or a key or value that the format does not know.
    """
    try:
        document = read_json(Path(path), error=ModelFileError)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: cannot be read: No such file or directory") from None
    return card_from_document(document, name=str(path))


def card_from_document(document: Any, *, name: str) -> ModelCard:
    """Turn the content of a ``model.json`` into a card; ``name`` serves error messages."""
    if not isinstance(document, dict):
        raise ModelFileError(f"{name}: a card is a JSON object, not a {type(document).__name__}")
    card_format = document.get("format")
    if card_format != CARD_FORMAT:
        raise ModelFileError(f"{name}: format is {card_format!r}; this version reads format {CARD_FORMAT}")
    body = {key: value for key, value in document.items() if key != "format"}
    return parse_dataclass(ModelCard, body, name=name)


def write_card(folder: files.PathLike, card: ModelCard) -> ModelCard:
    """Write ``model.json`` into a model folder, with the hashes of the files that stand there now.

    Returns:
        The card as written, with ``files`` filled in.

    Raises:
        ModelFileError: the card is not valid.
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    hashes = {path.name: files.sha256_of_file(path) for path in sorted(target.iterdir()) if _is_hashed(path)}
    written = dataclasses.replace(card, files=hashes)
    document = {"format": CARD_FORMAT, **dataclasses.asdict(written)}
    document = {key: value for key, value in document.items() if value is not None}
    card_from_document(json.loads(json.dumps(document)), name=str(target / CARD_NAME))
    files.write_json(target / CARD_NAME, document)
    return written


def edit_card(
    folder: files.PathLike, change: Callable[[ModelCard], ModelCard], *, when_missing: ModelCard
) -> ModelCard:
    """Change the card of a model folder under its lock: what others wrote into it meanwhile is kept.

    Args:
        folder: of the model.
        change: makes the new card of the present one; do slow work before.
        when_missing: is changed and written when the folder has no card yet.

    Returns:
        The card as written.

    Raises:
        ModelFileError: the present or the new card is not valid, or it cannot be written.
    """
    path = Path(folder) / CARD_NAME
    try:
        with files.locked(path):
            return write_card(folder, change(read_card(path) if path.exists() else when_missing))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from None


def _is_hashed(path: Path) -> bool:
    return path.is_file() and path.name != CARD_NAME and not path.name.startswith(".")
