"""What goes wrong over HTTP, and the one table from classes of errors to status and code."""

from __future__ import annotations

from typing import Optional

from arcface_paddle.errors import (
    ArcfaceError,
    ConfigError,
    GalleryError,
    ImageError,
    MissingDependencyError,
)


class ServiceError(ArcfaceError):
    """Base of the errors that only a service has.

    Attributes:
        retry_after_s: when to try again; None when that does not help.
    """

    def __init__(self, message: str, *, retry_after_s: Optional[int] = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadRequestError(ServiceError):
    """The request is malformed."""


class UnauthorizedError(ServiceError):
    """No key, or one that is not valid."""


class ForbiddenError(ServiceError):
    """The key's role does not suffice, or a page of another site sent the request."""


class NotFoundError(ServiceError):
    """No such person, face, job or group."""


class SlowUploadError(ServiceError):
    """The body did not arrive in time."""


class NameTakenError(ServiceError):
    """Another person has that name."""


class TooLargeError(ServiceError):
    """More bytes, pixels or pictures than are allowed."""


class UnsupportedMediaError(ServiceError):
    """A body of a type that the route does not take."""


class NoFaceError(ServiceError):
    """A picture without a face, where one is needed."""


class SeveralFacesError(ServiceError):
    """A picture with several faces, where one person is meant."""


class SmallFaceError(ServiceError):
    """A face too small to tell people apart."""


class TooManyFacesError(ServiceError):
    """A picture with more faces than are allowed."""


class RateLimitedError(ServiceError):
    """More requests with one key than it may make."""


class MisconfiguredError(ServiceError):
    """Something that the operator has to put right; the log says what."""


class GalleryUnavailableError(ServiceError):
    """The gallery cannot be read or written just now; the log says why."""


class BusyError(ServiceError):
    """The queue is full, or the service is stopping."""


class TimedOutError(ServiceError):
    """The work took longer than is allowed."""


TABLE: dict[type[Exception], tuple[int, str]] = {
    BadRequestError: (400, "bad_request"),
    ConfigError: (400, "bad_value"),
    UnauthorizedError: (401, "unauthorized"),
    ForbiddenError: (403, "forbidden"),
    NotFoundError: (404, "not_found"),
    SlowUploadError: (408, "slow_upload"),
    NameTakenError: (409, "name_taken"),
    GalleryError: (409, "gallery"),
    TooLargeError: (413, "too_large"),
    UnsupportedMediaError: (415, "unsupported_media"),
    ImageError: (422, "bad_image"),
    NoFaceError: (422, "no_face"),
    SeveralFacesError: (422, "several_faces"),
    SmallFaceError: (422, "small_face"),
    TooManyFacesError: (422, "too_many_faces"),
    RateLimitedError: (429, "rate_limited"),
    MissingDependencyError: (501, "not_installed"),
    MisconfiguredError: (500, "misconfigured"),
    GalleryUnavailableError: (503, "gallery_unavailable"),
    BusyError: (503, "busy"),
    TimedOutError: (504, "timed_out"),
}
"""Status and code of every error on purpose; the nearest base class counts, see ``status_and_code``."""

INTERNAL = (500, "internal")

CODES_OF_STATUSES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}
"""Codes of what the framework answers itself."""

INVALID = (422, "bad_value")
"""A body or parameter that its schema refuses."""


def status_and_code(error: Exception) -> tuple[int, str]:
    """Return what the table says of an error or of its nearest base class; 500 for what nobody foresaw."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return INTERNAL
