"""What a synthetic dataset is to be, and where each of its pictures lies on the disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict

from arcface_paddle import files, images
from arcface_paddle.data.bin_record import encode_record, read_bin
from arcface_paddle.errors import ConfigError
from arcface_paddle.synthetic.generator import SESSIONS_PER_IDENTITY, SyntheticFaces

FORMATS = ("bin", "image", "folder", "recordio", "packed")
ENCODINGS = ("jpg", "png")
VALIDATION_NAME = "synthetic"
"""The verification set of held-out people is ``synthetic.bin``, so that ``--val_targets synthetic`` names it."""

SETTINGS_FILE = "synthetic.json"
WORK_FOLDER = ".work"

_JPEG_QUALITY = 95  # photograph.py has drawn the artefacts of the camera's own JPEG; storing should add few
_MAX_IDENTITIES, _MAX_IMAGES = 10_000_000, 100_000


@dataclass(frozen=True)
class DatasetSettings:
    """A synthetic dataset; the same settings give the same pictures.

    Attributes:
        identities: people to train on, with labels from 0.
        images_per_identity: pictures of each of them, and of each held-out person.
        seed: seed of the population.
        format: ``bin`` (per-image .bin and label.txt), ``image`` (pictures and label.txt), ``folder`` (one per
            identity), ``recordio`` (train.rec), ``packed`` (shards).
        size: width and height in pixels.
        full_frame: whole pictures instead of aligned crops.
        val_identities: people held out for the verification set; they follow the others in number.
        val_pairs: pairs of that set, half genuine.
        encoding: ``jpg`` (quality 95) or ``png``.
        sessions_per_identity: days over which the pictures of a person are spread.
    """

    identities: int = 100
    images_per_identity: int = 12
    seed: int = 0
    format: str = "bin"
    size: int = 112
    full_frame: bool = False
    val_identities: int = 0
    val_pairs: int = 600
    encoding: str = "jpg"
    sessions_per_identity: int = SESSIONS_PER_IDENTITY

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: one is out of range, or two do not go together.
        """
        _check("identities", self.identities, 1, _MAX_IDENTITIES)
        _check("images_per_identity", self.images_per_identity, 1, _MAX_IMAGES)
        _check("val_identities", self.val_identities, 0, _MAX_IDENTITIES)
        if self.format not in FORMATS:
            raise ConfigError(f"format is {self.format!r}; allowed: {', '.join(FORMATS)}")
        if self.encoding not in ENCODINGS:
            raise ConfigError(f"encoding is {self.encoding!r}; allowed: {', '.join(ENCODINGS)}")
        if self.val_identities:
            self._check_validation()
        self.population()

    @property
    def people(self) -> int:
        """Number of all people, those of the verification set included."""
        return self.identities + self.val_identities

    def population(self) -> SyntheticFaces:
        """Return the generator of these people.

        Raises:
            ConfigError: seed, size or sessions out of range.
        """
        return SyntheticFaces(
            self.seed,
            size=self.size,
            full_frame=self.full_frame,
            sessions_per_identity=self.sessions_per_identity,
        )

    def as_json(self) -> Dict[str, Any]:
        """Return the settings as they stand in ``synthetic.json``."""
        return asdict(self)

    def _check_validation(self) -> None:
        if self.full_frame:
            raise ConfigError("a verification set needs aligned crops; leave out full_frame or set val_identities 0")
        if self.val_identities < 2 or self.images_per_identity < 2:
            raise ConfigError(
                f"{self.val_identities} held-out identities with {self.images_per_identity} pictures give no pairs; "
                "val_identities and images_per_identity must be 2 or more"
            )
        _check("val_pairs", self.val_pairs, 2, 10_000_000)


class Layout:
    """Paths of the pictures below the folder of a dataset, and how they are written and read."""

    def __init__(self, root: Path, settings: DatasetSettings) -> None:
        """Describe ``root``; nothing is touched."""
        self.root = root
        self.settings = settings

    @property
    def work(self) -> Path:
        """The folder of everything that is gone when the dataset is complete."""
        return self.root / WORK_FOLDER

    def is_held_out(self, identity: int) -> bool:
        """Tell whether a person belongs to the verification set."""
        return identity >= self.settings.identities

    def part(self, identity: int) -> Path:
        """Return the file of the metadata of one person while the dataset is written."""
        return self.work / "parts" / f"{identity:08d}.jsonl"

    def name(self, identity: int, image: int) -> str:
        """Return the name of a picture below the dataset's folder."""
        settings = self.settings
        if self.is_held_out(identity):
            return f"{WORK_FOLDER}/held_out/{identity:08d}/{image:05d}.{settings.encoding}"
        if settings.format in ("recordio", "packed"):
            return f"{WORK_FOLDER}/pictures/{identity:08d}/{image:05d}.{settings.encoding}"
        if settings.format == "folder":
            return f"{identity:08d}/{image:05d}.{settings.encoding}"
        number = identity * settings.images_per_identity + image
        return f"images/{number:08d}.{'bin' if settings.format == 'bin' else settings.encoding}"

    def encode(self, image: Any) -> bytes:
        """Encode an RGB picture."""
        return images.encode_image(image, suffix=f".{self.settings.encoding}", quality=_JPEG_QUALITY)

    def write_picture(self, name: str, content: bytes) -> None:
        """Write an encoded picture under its name."""
        if name.endswith(".bin"):
            content = encode_record(f"{Path(name).stem}.{self.settings.encoding}", content)
        files.write_bytes(self.root / name, content)

    def read_picture(self, name: str) -> bytes:
        """Return the encoded picture under a name.

        Raises:
            OSError: it cannot be read.
            DataError: it is not a per-image .bin.
        """
        path = self.root / name
        return read_bin(path)[1] if name.endswith(".bin") else path.read_bytes()


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; allowed: {low} to {high}")
