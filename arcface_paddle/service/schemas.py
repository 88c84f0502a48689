"""The answers and bodies of the service, as OpenAPI shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Optional

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_YEARS = 1970, 9998  # of moments that can be recorded in every zone


def _recordable(moment: datetime) -> datetime:
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise ValueError(f"the year is {moment.year}; allowed: {_YEARS[0]} to {_YEARS[1]}")
    return moment


Moment = Annotated[datetime, AfterValidator(_recordable)]

_BOX = [102.5, 64.1, 190.2, 181.7]
_LANDMARKS = [[125.0, 110.2], [165.9, 109.8], [146.1, 133.0], [128.9, 154.2], [163.0, 153.8]]
_FACE = {
    "box": _BOX,
    "score": 0.91,
    "landmarks": _LANDMARKS,
    "quality": 0.82,
    "weakness": "",
    "landmark_doubt": 0.02,
}
_PERSON_ID = "0f8fad5bd9cb469fa165708677289501"
_PERSON = {
    "id": _PERSON_ID,
    "name": "Grace Hopper",
    "faces": 3,
    "consent": "form 17 of 2026-01-31",
    "expires": "2027-01-31T00:00:00Z",
    "created": "2026-01-31T12:00:00Z",
}


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


class Problem(BaseModel):
    """Every answer that is an error."""

    model_config = _example(code="no_face", message="no face was found in the picture")
    code: str
    message: str


class FaceOut(BaseModel):
    """A face that was found, in pixels of the upright picture."""

    model_config = _example(**_FACE)
    box: list[float] = Field(description="left, top, right, bottom")
    score: float = Field(description="confidence of the detector, 0 to 1")
    landmarks: Optional[list[list[float]]] = Field(description="eyes, nose tip, corners of the mouth; left first")
    quality: Optional[float] = Field(description="how good the picture is for recognition, 0 to 1")
    weakness: str = Field(description="what lowers the quality most")
    landmark_doubt: Optional[float] = Field(description="distance of two looks at the points, in eye distances")


class DetectOut(BaseModel):
    """The faces of a picture, largest first."""

    model_config = _example(width=640, height=480, faces=[_FACE])
    width: int
    height: int
    faces: list[FaceOut]


class EmbeddedFace(FaceOut):
    """A face and its embedding, of length 1."""

    model_config = _example(**_FACE, embedding=[0.0125, -0.0771, 0.0403])
    embedding: list[float]


class EmbedOut(BaseModel):
    """The faces of a picture with embeddings; only those of one ``identity`` may be compared."""

    model_config = _example(width=640, height=480, model="MobileFace", identity="9c1d…", faces=[])
    width: int
    height: int
    model: str
    identity: str
    faces: list[EmbeddedFace]


class CompareOut(BaseModel):
    """Whether two pictures show one person: by the face nearest to the centre of each, which ``faces_*`` has first."""

    model_config = _example(
        same=True, similarity=0.71, probability=0.998, threshold=0.42, message="the same person", faces_a=[_FACE],
        faces_b=[_FACE],
    )  # fmt: skip
    same: bool
    similarity: float
    probability: Optional[float]
    threshold: float
    message: str
    faces_a: list[FaceOut]
    faces_b: list[FaceOut]


class CandidateOut(BaseModel):
    """A person of the gallery."""

    model_config = _example(person=_PERSON_ID, name="Grace Hopper", similarity=0.71)
    person: str
    name: str
    similarity: float


class IdentifiedFace(FaceOut):
    """A face and who it is; ``name`` and ``person`` are null for a stranger."""

    model_config = _example(
        **_FACE, name="Grace Hopper", person=_PERSON_ID, similarity=0.71, probability=0.998,
        candidates=[{"person": _PERSON_ID, "name": "Grace Hopper", "similarity": 0.71}],
    )  # fmt: skip
    name: Optional[str]
    person: Optional[str]
    similarity: Optional[float]
    probability: Optional[float]
    candidates: list[CandidateOut]


class IdentifyOut(BaseModel):
    """The faces of a picture with names."""

    model_config = _example(width=640, height=480, threshold=0.53, faces=[])
    width: int
    height: int
    threshold: float
    faces: list[IdentifiedFace]


class PersonOut(BaseModel):
    """A person of the gallery."""

    model_config = _example(**_PERSON)
    id: str
    name: str
    faces: int
    consent: Optional[str]
    expires: Optional[str]
    created: str
    picture: Optional[str] = Field(
        default=None, description="the best face as a data URI; where pictures=true asks for it and crops are kept"
    )


class PeopleOut(BaseModel):
    """Some people, in the order of names."""

    model_config = _example(total=1, people=[_PERSON])
    total: int
    people: list[PersonOut]


class PersonIn(BaseModel):
    """A person to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "Grace Hopper", "consent": "form 17"}]}
    )
    name: str = Field(min_length=1, max_length=200)
    consent: Optional[str] = Field(default=None, max_length=2000)
    expires: Optional[Moment] = Field(default=None, description="when to remove the person; UTC without a zone")


class PersonPatch(BaseModel):
    """What is to change of a person; what is left out stays, null takes consent or expiry away."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"expires": "2028-01-31T00:00:00Z"}]})
    name: Optional[str] = Field(default=None, min_length=1, max_length=200)
    consent: Optional[str] = Field(default=None, max_length=2000)
    expires: Optional[Moment] = None


class MergeIn(BaseModel):
    """The person who takes the faces."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"into": _PERSON_ID}]})
    into: str = Field(max_length=64)


class NameIn(BaseModel):
    """A name for a group of unknown faces."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Grace Hopper"}]})
    name: str = Field(min_length=1, max_length=200)


class StoredFaceOut(BaseModel):
    """A face of a person in the gallery."""

    model_config = _example(id="2b1f0c9a7d5e4f31", source="hopper.jpg", quality=0.82, added="2026-01-31T12:00:00Z")
    id: str
    source: str
    quality: Optional[float]
    added: str
    picture: Optional[str] = Field(
        default=None, description="a small JPEG as a data URI; where pictures=true asks for it and crops are kept"
    )


class JobOut(BaseModel):
    """A bulk enrolment; ``done`` counts pictures whose faces are on disk, or that gave none."""

    model_config = _example(
        id="5e0f6a1c", state="running", done=12, total=40, enrolled=11,
        problems=[{"picture": "Grace Hopper/3.jpg", "code": "no_face", "message": "no face was found"}],
    )  # fmt: skip
    id: str
    state: str = Field(description="waiting, running, done, cancelled or failed")
    done: int
    total: int
    enrolled: int
    problems: list[dict[str, str]]


class GalleryOut(BaseModel):
    """Sizes of the gallery."""

    model_config = _example(people=3, faces=3, model="FaceFusion", engine="file", bytes=18204, crops=False)
    people: int
    faces: int
    model: Optional[str]
    engine: str
    bytes: Optional[int]
    crops: bool = Field(description="whether small pictures of enrolled faces are kept (--keep_crops)")


class AccessOut(BaseModel):
    """Who asks, and what they may do; ``key`` and ``name`` are null for a service without keys."""

    model_config = _example(auth=True, key="3f2a9c", name="front desk", role="write")
    auth: bool
    key: Optional[str]
    name: Optional[str]
    role: str = Field(description="read, write or admin, each with all that those before it may")


class ModelsOut(BaseModel):
    """The models in use and their thresholds."""

    detector: dict[str, Any]
    recognizer: dict[str, Any]
    thresholds: dict[str, Any]


class UnknownGroup(BaseModel):
    """Faces of one stranger, as far as the recogniser can tell; ``picture`` is a data URI of the best crop."""

    model_config = _example(
        id="7a11", faces=4, first_seen="2026-01-31T12:00:00Z", last_seen="2026-01-31T12:05:00Z", picture="data:…"
    )
    id: str
    faces: int
    first_seen: str
    last_seen: str
    picture: str


class UnknownOut(BaseModel):
    """Strangers seen since the start, most recent first."""

    enabled: bool
    groups: list[UnknownGroup]


class HealthOut(BaseModel):
    """Whether the service lives, and takes requests."""

    model_config = _example(status="ok")
    status: str
