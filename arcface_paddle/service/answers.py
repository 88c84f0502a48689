"""From what the package finds to what the service answers: results into schemas, a picture into faces."""

from __future__ import annotations

import hashlib
from typing import Any, Optional

import numpy as np

from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.choosing import choose_faces
from arcface_paddle.pipeline.comparison import PAIR_FAR
from arcface_paddle.pipeline.gallery import ModelIdentity
from arcface_paddle.pipeline.probability import same_person_probability
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.pipeline.settings import CENTRE, FALSE_ACCEPTANCE_RATES, ThresholdSettings
from arcface_paddle.pipeline.thresholds import Threshold, pair_threshold, similarity_at
from arcface_paddle.service import schemas
from arcface_paddle.service.crops import data_uri
from arcface_paddle.service.errors import NoFaceError
from arcface_paddle.service.gallery_store import Answer, Person, StoredFace
from arcface_paddle.types import Face, ImageResult

SAME, DIFFERENT = "the same person", "different people"
_TABLE_FARS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def face_out(face: Face) -> dict[str, Any]:
    """Return the values of ``schemas.FaceOut``."""
    detection = face.detection.to_dict()
    return {
        "box": detection["box"],
        "score": detection["detection_score"],
        "landmarks": detection["landmarks"],
        "landmark_doubt": detection["landmark_doubt"],
        "quality": _rounded(face.quality),
        "weakness": face.weakness,
    }


def detect_out(result: ImageResult) -> schemas.DetectOut:
    width, height = result.size_wh
    faces = [schemas.FaceOut(**face_out(face)) for face in result.faces]
    return schemas.DetectOut(width=width, height=height, faces=faces)


def embed_out(result: ImageResult, model: ModelIdentity) -> schemas.EmbedOut:
    width, height = result.size_wh
    faces = [
        schemas.EmbeddedFace(**face_out(face), embedding=require_embedding(face).astype(float).tolist())
        for face in result.faces
    ]
    return schemas.EmbedOut(width=width, height=height, model=model.name, identity=identity_hash(model), faces=faces)


def identify_out(
    result: ImageResult, found: list[Answer], *, threshold: Threshold, card: ModelCard
) -> schemas.IdentifyOut:
    width, height = result.size_wh
    faces = [_identified(face, answer, card) for face, answer in zip(result.faces, found)]
    return schemas.IdentifyOut(width=width, height=height, threshold=round(threshold.similarity, 4), faces=faces)


def compare_out(first: ImageResult, second: ImageResult, *, card: ModelCard) -> schemas.CompareOut:
    """Compare the faces nearest to the centres of two pictures. Raises ``NoFaceError``."""
    chosen = [_central(first, "the first picture"), _central(second, "the second picture")]
    one, other = (require_embedding(faces[0]) for faces in chosen)
    similarity = recognizer_spec(card).similarity.similarity_of(float(np.dot(one, other)))
    threshold = pair_threshold(card, ThresholdSettings(far=PAIR_FAR)).similarity
    faces_a, faces_b = ([schemas.FaceOut(**face_out(face)) for face in faces] for faces in chosen)
    same = similarity >= threshold
    return schemas.CompareOut(
        same=same,
        similarity=round(similarity, 4),
        probability=_rounded(same_person_probability(card, similarity)),
        threshold=round(threshold, 4),
        message=SAME if same else DIFFERENT,
        faces_a=faces_a,
        faces_b=faces_b,
    )


def person_out(person: Person) -> schemas.PersonOut:
    record = person.record
    return schemas.PersonOut(
        id=record.id,
        name=record.name,
        faces=person.faces,
        consent=record.consent,
        expires=record.expires,
        created=record.created,
        picture=data_uri(person.crop),
    )


def stored_face_out(face: StoredFace) -> schemas.StoredFaceOut:
    return schemas.StoredFaceOut(
        id=face.id,
        source=face.entry.path,
        quality=_rounded(face.quality),
        added=face.entry.created,
        picture=data_uri(face.crop),
    )


def models_out(
    *, detector: dict[str, Any], card: ModelCard, recognizer: dict[str, Any], identify: Threshold
) -> schemas.ModelsOut:
    """Return cards and thresholds: of a search, of a pair, and the similarity that each rate means."""
    calibration = recognizer_spec(card).calibration
    compare = pair_threshold(card, ThresholdSettings(far=PAIR_FAR)).similarity
    table = [] if calibration is None else _far_table(calibration.tail, calibration)
    thresholds = {"identify": round(identify.similarity, 4), "compare": round(compare, 4), "far_table": table}
    return schemas.ModelsOut(detector=detector, recognizer=recognizer, thresholds=thresholds)


def identity_hash(model: ModelIdentity) -> str:
    """Return what two services share whose embeddings may be compared, 16 hexadecimal digits."""
    parts = (model.weights_sha256, model.preprocessing_sha256, str(model.mirrored), str(model.embedding_size))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _far_table(tail: tuple[tuple[float, float], ...], calibration: Any) -> list[dict[str, float]]:
    if tail:
        return [{"far": far, "similarity": round(similarity_at(tail, far), 4)} for far in _TABLE_FARS]
    of_card = {float(rate): getattr(calibration, field) for rate, field in FALSE_ACCEPTANCE_RATES.items()}
    return [{"far": far, "similarity": value} for far, value in of_card.items() if value is not None]


def _identified(face: Face, answer: Answer, card: ModelCard) -> schemas.IdentifiedFace:
    similarity = answer.similarity
    probability = None if similarity is None else same_person_probability(card, similarity)
    candidates = [
        schemas.CandidateOut(person=one.person, name=one.name, similarity=round(one.similarity, 4))
        for one in answer.candidates
    ]
    return schemas.IdentifiedFace(
        **face_out(face),
        name=None if answer.best is None else answer.best.name,
        person=None if answer.best is None else answer.best.person,
        similarity=_rounded(similarity),
        probability=_rounded(probability),
        candidates=candidates,
    )


def _central(result: ImageResult, name: str) -> list[Face]:
    """Return the faces of a picture, the one nearest to the centre first."""
    if not result.faces:
        raise NoFaceError(f"no face was found in {name}")
    chosen = choose_faces(result, CENTRE)[0]
    return [chosen, *(face for face in result.faces if face is not chosen)]


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(float(value), 4)
