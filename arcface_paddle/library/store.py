"""What was found in pictures, by the pictures' content and by the models that looked: nothing is embedded twice.

A store is a folder with a folder for each set of models and settings (``ScanIdentity``), so that another recogniser
starts anew and leaves what the first one found in peace. In there lie ``identity.json`` and ``faces.log``, a file of
records (``record_log``) of three kinds:

- a picture: its SHA-256, size, time, fingerprints, and its faces with their embeddings (or why it cannot be read),
- a path: that a file of this size and time of change has that content, so that it need not be read again,
- the end of a path, or of a picture of which no path is left.

Pictures are never touched and nothing is written beside them. A picture that is renamed, moved or copied is known by
its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import struct
import time
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.library.record_log import RecordWriter, read_records, write_records
from arcface_paddle.pipeline.picture_hashes import COMPARED
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json

LOG_NAME = "faces.log"
IDENTITY_NAME = "identity.json"

_SYNC_INTERVAL_S = 5.0
_DEAD_SHARE = 0.25  # of the file's bytes, from which on it is worth writing anew
_HEAD = struct.Struct("<I")
_MOST_NUMBERS = 1 << 20  # of an embedding; networks have 128 to 2,048
_DAMAGE = (*DOCUMENT_ERRORS, struct.error)


@dataclass(frozen=True)
class ScanIdentity:
    """What decides which faces are found in a picture and how they are embedded.

    Attributes:
        recognizer: name of the recogniser.
        weights_sha256: of its weights.
        preprocessing_sha256: of all that turns a photograph into its input.
        mirrored: whether the embedding is averaged with that of the mirrored face.
        embedding_size: D.
        detector: name of the detector, and hash of its weights.
        search: threshold, least size and rotation of the faces that are looked for, as text.
    """

    recognizer: str
    weights_sha256: str
    preprocessing_sha256: str
    mirrored: bool
    embedding_size: int
    detector: str
    search: str

    @property
    def key(self) -> str:
        """Name of the identity's folder: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def model(self) -> str:
        """Name of the recogniser and hash of its weights, as ``people.json`` and files of embeddings have it."""
        return f"{self.recognizer} sha256:{self.weights_sha256}"


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """What was found in a picture.

    Attributes:
        sha256: of the file.
        size_wh: width and height in pixels; (0, 0) for what cannot be read.
        captured: when it was taken.
        perceptual: 64-bit hash of the picture, see ``pipeline.picture_hashes``.
        gray: (48, 48) uint8 grey picture, by which copies are told; None for what cannot be read.
        boxes_xyxy: (F, 4) float32.
        landmarks: (F, 5, 2) float32, NaN for faces without.
        scores: (F,) float32.
        qualities: (F,) float32, NaN where unknown.
        embeddings: (F, D) float32, L2-normalised.
        problem: why it could not be read, without its path; empty when it could.
        max_pixels: the limit under which that problem arose.
    """

    sha256: str
    size_wh: tuple[int, int]
    captured: Optional[datetime]
    perceptual: int
    gray: Optional[np.ndarray]
    boxes_xyxy: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    qualities: np.ndarray
    embeddings: np.ndarray
    problem: str = ""
    max_pixels: Optional[int] = None

    @property
    def face_count(self) -> int:
        """How many faces were found."""
        return len(self.boxes_xyxy)


def unreadable(sha256: str, problem: str, *, max_pixels: Optional[int]) -> StoredPicture:
    """Return the record of a picture that cannot be read, so that nobody tries again."""
    none = np.empty((0, 4), np.float32)
    return StoredPicture(
        sha256, (0, 0), None, 0, None, none, np.empty((0, 5, 2), np.float32), none[:, 0], none[:, 0],
        np.empty((0, 0), np.float32), problem=problem, max_pixels=max_pixels,
    )  # fmt: skip


@dataclass(frozen=True)
class FileState:
    """By what a file is taken for unchanged: size in bytes and time of its last change in nanoseconds."""

    size: int
    mtime_ns: int


class FaceStore:
    """The records of one identity, open for reading and appending. Use it as a context: its end closes the file.

    Attributes:
        folder: of the identity.
        identity: whose records these are.
    """

    def __init__(self, folder: files.PathLike, identity: ScanIdentity) -> None:
        """Read what is there; the folder is made if need be. Call it through ``open_store``, which locks the store.

        Raises:
            DataError: the store is damaged, or belongs to something else.
            OSError: it cannot be read or written.
        """
        self.folder = Path(folder) / identity.key
        self.identity = identity
        self._pictures: dict[str, StoredPicture] = {}
        self._paths: dict[str, tuple[FileState, str]] = {}
        self._live_bytes: dict[str, int] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        end = self._read()
        self._writer = RecordWriter(self.folder / LOG_NAME, end=end)
        if read_identity(self.folder / IDENTITY_NAME) != identity:  # not yet there, or damaged
            files.write_json(self.folder / IDENTITY_NAME, asdict(identity))
        self._synced = time.monotonic()

    def __enter__(self) -> FaceStore:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._pictures)

    def picture(self, sha256: str) -> Optional[StoredPicture]:
        """Return what was found in a picture; None when nobody has looked yet."""
        return self._pictures.get(sha256)

    def content_of(self, path: str, state: FileState) -> Optional[str]:
        """Return the SHA-256 of an unchanged file whose picture is stored; None when it must be read."""
        known = self._paths.get(path)
        return known[1] if known is not None and known[0] == state and known[1] in self._pictures else None

    def paths(self) -> list[str]:
        """Return all paths that are known, whether they still exist or not."""
        return list(self._paths)

    def add_picture(self, picture: StoredPicture) -> None:
        """Append what was found in a picture, in place of what was known of it.

        Raises:
            ConfigError: the embeddings are those of another recogniser than the store's.
            OSError: it cannot be written; what was there before stays whole.
        """
        size, wanted = picture.embeddings.shape[1], self.identity.embedding_size
        if picture.face_count and size != wanted:
            raise ConfigError(
                f"faces were embedded with {size} numbers, but {self.identity.recognizer}, the recogniser of this "
                f"library, gives {wanted}: open the workers with rec_model={self.identity.recognizer!r}"
            )
        payload = encode_picture(picture)
        self._append(payload)
        self._pictures[picture.sha256] = picture
        self._live_bytes[picture.sha256] = len(payload)

    def add_path(self, path: str, state: FileState, sha256: str) -> None:
        """Append that a file has this content. Raises ``OSError`` as ``add_picture``."""
        if self._paths.get(path) == (state, sha256):
            return
        self._append(_encode_path(path, state, sha256))
        self._paths[path] = (state, sha256)

    def forget_paths(self, gone: Sequence[str]) -> int:
        """Forget files that are gone, and every picture of which no other path is known.

        Returns:
            How many pictures were forgotten.
        """
        for path in gone:
            if self._paths.pop(path, None) is not None:
                self._append(_encode({"kind": "gone", "path": path}))
        kept = {sha256 for _, sha256 in self._paths.values()}
        dropped = [sha256 for sha256 in self._pictures if sha256 not in kept]
        for sha256 in dropped:
            del self._pictures[sha256], self._live_bytes[sha256]
            self._append(_encode({"kind": "dropped", "sha256": sha256}))
        self._compact()
        return len(dropped)

    def close(self) -> None:
        """Write all to the disk and close the file."""
        with contextlib.suppress(OSError):
            self._writer.sync()
        self._writer.close()

    def _read(self) -> Optional[int]:
        """Read the file; returns the end of its last whole frame, None when there is no file."""
        path = self.folder / LOG_NAME
        if not path.exists():
            return None
        end = 0
        with _damage_told(path):
            for frame_end, payload in read_records(path):
                self._take(payload)
                end = frame_end
        return end or None

    def _take(self, payload: bytes) -> None:
        head, blob = decode_head(payload)
        kind = head["kind"]
        if kind == "picture":
            picture = _picture_from(head, blob)
            self._pictures[picture.sha256] = picture
            self._live_bytes[picture.sha256] = len(payload)
        elif kind == "path":
            self._paths[head["path"]] = (FileState(int(head["size"]), int(head["mtime_ns"])), str(head["sha256"]))
        elif kind == "gone":
            self._paths.pop(head["path"], None)
        elif kind == "dropped":
            self._pictures.pop(head["sha256"], None)
            self._live_bytes.pop(head["sha256"], None)
        else:
            raise ValueError(f"kind {kind!r}")

    def _append(self, payload: bytes) -> None:
        self._writer.append(payload)
        if time.monotonic() - self._synced >= _SYNC_INTERVAL_S:
            self._writer.sync()
            self._synced = time.monotonic()

    def _compact(self) -> None:
        """Write the file anew when much in it is of no use any more; deleted pictures then leave the disk."""
        live = sum(self._live_bytes.values())
        if live >= (1 - _DEAD_SHARE) * self._writer.size:
            return
        self._writer.close()
        path = self.folder / LOG_NAME
        try:
            end = write_records(path, self._payloads())
        finally:
            if not path.exists():
                raise DataError(f"{path}: is gone; somebody has deleted it while it was in use")
        self._writer = RecordWriter(path, end=end)

    def _payloads(self) -> Iterator[bytes]:
        for picture in self._pictures.values():
            yield encode_picture(picture)
        for path, (state, sha256) in self._paths.items():
            yield _encode_path(path, state, sha256)


@contextlib.contextmanager
def open_store(folder: files.PathLike, identity: ScanIdentity) -> Iterator[FaceStore]:
    """Open a store and keep other processes out of it meanwhile.

    Raises:
        DataError: it is damaged, in use by another process, cannot be written, or its disk is full.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with files.locked(Path(folder) / identity.key), FaceStore(folder, identity) as store:
            yield store
    except TimeoutError as error:
        raise DataError(f"the store {folder} is in use: {error.strerror}") from None


def read_embeddings(folder: files.PathLike, *, model: str) -> dict[str, StoredPicture]:
    """Return all pictures of a store that a model has looked at, by their SHA-256.

    Args:
        folder: of the store, as ``people.json`` names it.
        model: name of the recogniser and hash of its weights, as ``people.json`` has it.

    Raises:
        DataError: there is no such store, it is damaged, or that model has not been used with it.
    """
    found: dict[str, StoredPicture] = {}
    for path in sorted(Path(folder).glob(f"*/{LOG_NAME}")):
        identity = read_identity(path.parent / IDENTITY_NAME)
        if identity is not None and identity.model == model:
            found.update({picture.sha256: picture for picture in _pictures_in(path)})
    if not found:
        raise DataError(f"{folder}: holds no faces of {model[:40]}; run 'arcface-paddle people' again")
    return found


def _pictures_in(log: Path) -> Iterator[StoredPicture]:
    with _damage_told(log):
        for _, payload in read_records(log):
            head, blob = decode_head(payload)
            if head["kind"] == "picture":
                yield _picture_from(head, blob)


@contextlib.contextmanager
def _damage_told(log: Path) -> Iterator[None]:
    """Turn what a record leads to whose checksum is right and whose content is not ours into ``DataError``."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(
            f"{log}: a record is not valid ({type(error).__name__}: {error!s:.200}); delete this file, and the "
            "pictures that it knew are looked at again"
        ) from None


def encode_picture(picture: StoredPicture) -> bytes:
    """Return the payload of a picture: its facts as JSON, then the grey picture and the arrays."""
    head = {
        "kind": "picture",
        "sha256": picture.sha256,
        "size": list(picture.size_wh),
        "captured": None if picture.captured is None else picture.captured.isoformat(),
        "perceptual": picture.perceptual,
        "faces": picture.face_count,
        "dimension": picture.embeddings.shape[1],
        "gray": picture.gray is not None,
        "problem": picture.problem,
        "max_pixels": picture.max_pixels,
    }
    arrays = (picture.boxes_xyxy, picture.landmarks, picture.scores, picture.qualities, picture.embeddings)
    blob = b"" if picture.gray is None else np.ascontiguousarray(picture.gray, np.uint8).tobytes()
    return _encode(head, blob + b"".join(np.ascontiguousarray(values, "<f4").tobytes() for values in arrays))


def decode_head(payload: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the facts of a record, and the bytes behind them."""
    (length,) = _HEAD.unpack_from(payload)
    return json.loads(payload[_HEAD.size : _HEAD.size + length]), memoryview(payload)[_HEAD.size + length :]


def _picture_from(head: dict[str, Any], blob: memoryview) -> StoredPicture:
    gray = None
    if head["gray"]:
        gray = np.frombuffer(blob[: COMPARED * COMPARED], np.uint8).reshape(COMPARED, COMPARED)
        blob = blob[COMPARED * COMPARED :]
    faces, dimension = int(head["faces"]), int(head["dimension"])
    if faces < 0 or not 0 <= dimension < _MOST_NUMBERS:
        raise ValueError(f"{faces} faces of {dimension} numbers")
    shapes = ((faces, 4), (faces, 5, 2), (faces,), (faces,), (faces, dimension))
    values = np.frombuffer(blob, "<f4").astype(np.float32, copy=False)
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) != len(values):
        raise ValueError(f"{len(values)} values for {faces} faces")
    boxes, landmarks, scores, qualities, embeddings = [
        part.reshape(shape) for part, shape in zip(np.split(values, np.cumsum(sizes)[:-1]), shapes)
    ]
    width, height = head["size"]
    captured = head["captured"]
    return StoredPicture(
        head["sha256"], (int(width), int(height)), None if captured is None else datetime.fromisoformat(captured),
        int(head["perceptual"]), gray, boxes, landmarks, scores, qualities, embeddings,
        problem=head["problem"], max_pixels=head["max_pixels"],
    )  # fmt: skip


def _encode_path(path: str, state: FileState, sha256: str) -> bytes:
    return _encode({"kind": "path", "path": path, "size": state.size, "mtime_ns": state.mtime_ns, "sha256": sha256})


def _encode(head: dict[str, Any], blob: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return _HEAD.pack(len(text)) + text + blob


def read_identity(path: Path) -> Optional[ScanIdentity]:
    """Return the identity of a folder of a store; None where it says none that can be.

    Raises:
        DataError: the system does not let it be read, so what it says is not known.
    """
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        found = ScanIdentity(**parse_json(content, name=str(path)))
    except (DataError, TypeError):
        return None
    kinds = {field.name: {"str": str, "bool": bool, "int": int}[str(field.type)] for field in fields(ScanIdentity)}
    sound = all(type(getattr(found, name)) is kind for name, kind in kinds.items())
    return found if sound and 0 < found.embedding_size < _MOST_NUMBERS else None
