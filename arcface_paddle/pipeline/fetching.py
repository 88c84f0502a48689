"""Fetching a published model archive without trusting it: to a temporary file, checked, only the expected names."""

from __future__ import annotations

import gzip
import http.client
import lzma
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Sequence

from tqdm import tqdm

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.graph_checks import check_graph, check_weights

MAX_ARCHIVE_BYTES = 1 << 30
MAX_MEMBERS = 100
TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 16


def fetch_archive(url: str, folder: Path, *, expected: Sequence[str]) -> None:
    """Fetch a tar archive and make ``folder`` of the files named in ``expected``; nothing else is extracted.

    Raises:
        ModelFileError: no network, not a whole archive, or one that lacks an expected file; nothing is left behind.
    """
    try:
        with tempfile.TemporaryFile() as archive:
            _download(url, archive)
            archive.seek(0)
            with files.atomic_folder(folder) as temporary:
                _extract(archive, temporary, expected=expected, url=url)
                for name in expected:
                    check = check_weights if name.endswith(".pdiparams") else check_graph
                    check(temporary / name)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise ModelFileError(
            f"cannot fetch {url}: {reason}. Without a network, fetch the file by hand and put "
            f"{' and '.join(expected)} into {folder}"
        ) from None
    except OSError as error:
        raise ModelFileError(f"cannot keep the model in {folder}: {error.strerror or error}") from None


def _download(url: str, target: BinaryIO) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        announced = response.headers.get("Content-Length")
        total = int(announced) if announced and announced.isdigit() else None
        received = 0
        with tqdm(total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], disable=None) as progress:
            for block in iter(lambda: response.read(_BLOCK_BYTES), b""):
                received += len(block)
                if received > MAX_ARCHIVE_BYTES:
                    raise ModelFileError(f"{url}: more than {MAX_ARCHIVE_BYTES:,} bytes; not fetched")
                target.write(block)
                progress.update(len(block))
    if total is not None and received != total:
        raise ModelFileError(f"{url}: {received:,} of {total:,} bytes arrived; try again")


def _extract(archive: BinaryIO, folder: Path, *, expected: Sequence[str], url: str) -> None:
    """Copy the regular files whose last path component is expected; no path of the archive is used."""
    found: set[str] = set()
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as tar:
            for index, member in enumerate(tar):
                if index >= MAX_MEMBERS:
                    raise ModelFileError(f"{url}: more than {MAX_MEMBERS} members, not a model archive")
                name = PurePosixPath(member.name).name
                if name not in expected or not member.isreg():
                    continue
                if name in found or member.size > MAX_ARCHIVE_BYTES:
                    raise ModelFileError(f"{url}: holds {name} twice or oversized, not a model archive")
                source = tar.extractfile(member)
                if source is not None:
                    with (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
                    found.add(name)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ModelFileError(f"{url}: not a whole tar archive: {error}") from None
    missing = [name for name in expected if name not in found]
    if missing:
        raise ModelFileError(f"{url}: the archive has no {' and no '.join(missing)}")
