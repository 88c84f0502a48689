"""Everything that a service needs to know before it starts. Light: the command line reads the defaults."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline.settings import PipelineSettings

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080
ROLES = ("read", "write", "admin")
"""What a key may do, each with all that those before it may: ask; change people; read metrics."""


@dataclass(frozen=True)
class Limits:
    """How much of what is accepted.

    Attributes:
        picture_bytes: largest encoded picture.
        picture_pixels: largest decoded picture.
        faces: most faces in a picture.
        json_bytes: largest body that is no picture.
        queue_length: pictures that wait for a worker; what comes on top gets 503.
        work_s: longest time from the end of the upload to the answer.
        upload_s: longest time that an upload takes.
        requests_per_minute: of one key; None for no limit.
        burst: requests of one key that may come at once.
        job_bytes: largest body of a bulk enrolment.
        job_pictures: most pictures in it.
        jobs: bulk enrolments that wait or run.
        unknown_groups: groups of strangers that are kept, where they are kept.
    """

    picture_bytes: int = 10_000_000
    picture_pixels: int = 40_000_000  # a telephone's 108 MP mode is refused, its usual 12 to 24 MP are not
    faces: int = 500
    json_bytes: int = 64_000
    queue_length: int = 64
    work_s: float = 30.0
    upload_s: float = 60.0
    requests_per_minute: Optional[float] = 1200.0
    burst: int = 100
    job_bytes: int = 2_000_000_000
    job_pictures: int = 20_000
    jobs: int = 4
    unknown_groups: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"the limit {name} is {value}; allowed: above 0")


@dataclass(frozen=True)
class ServiceSettings:
    """What is served, to whom, and within which limits.

    Attributes:
        gallery: what the gallery is called, see ``gallery.stores``; a file is made if it does not exist.
        state: folder of what stands beside the gallery: ids of people, keys, audit log; None for
            ``GALLERY.service`` beside a file.
        host: address to listen on.
        port: likewise; 0 for a free one.
        auth: whether keys are asked for. Without, ``host`` is a loopback address.
        cors: origins whose pages may call the service; none by default.
        keep_unknown: keep strangers in memory, so that they can be named.
        keep_crops: keep a small picture of each face that is enrolled, beside the gallery and encrypted where its file
            is, so that people can be seen in the list; without, none is kept and those kept before are removed.
        workers: pictures worked on at once; None for one more than cores, because one waits for the recogniser.
        pipeline: models, engine, thresholds.
        limits: how much of what.
    """

    gallery: PathLike
    state: Optional[PathLike] = None
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    auth: bool = True
    cors: tuple[str, ...] = ()
    keep_unknown: bool = False
    keep_crops: bool = False
    workers: Optional[int] = None
    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; allowed: 0 to 65535")
        if self.workers is not None and not 1 <= self.workers <= 256:
            raise ConfigError(f"workers is {self.workers}; allowed: 1 to 256")
        if not self.auth and not is_loopback(self.host):
            raise ConfigError(
                f"without keys the service listens on this machine only; host is {self.host!r}, allowed: 127.0.0.1, "
                "::1, localhost"
            )
        for origin in self.cors:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or origin != origin.strip():
                raise ConfigError(f"cors is {origin!r}; allowed: an origin such as https://example.org")

    @property
    def state_folder(self) -> Path:
        return state_folder_of(self.gallery) if self.state is None else Path(self.state)


def state_folder_of(gallery: PathLike) -> Path:
    """Return the folder of what a service keeps beside a gallery file. Raises ``ConfigError`` for another engine."""
    from arcface_paddle.pipeline.gallery.stores import is_engine_uri  # not for --help

    if is_engine_uri(gallery):
        raise ConfigError("a gallery that is no file needs a folder for ids of people, keys and audit log: --state DIR")
    path = Path(gallery)
    return path.with_name(f"{path.name}.service")


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
