"""Compiling the operators once per processor, and finding what an earlier process has compiled."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Sequence

from arcface_paddle import files, temporaries
from arcface_paddle.errors import ConfigError

_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-shared", "-fPIC")
_FLAGS_OF_PROCESSOR = ("-march=native", "-mcpu=native", "")  # compilers for ARM know the second, very old ones neither
_COMPILING_S = 300.0  # it takes two seconds; more is a machine that stands still
_KEY_LENGTH = 16


class NoKernelsError(ConfigError):
    """The operators cannot be compiled or loaded here; training goes on with those of Paddle."""


@dataclass(frozen=True, eq=False)
class Build:
    """The compiled operators.

    Attributes:
        library: the loaded functions of ``kernels.cc``.
        name: what decides the last bits of a result: source, compiler, flags and processor, as 16 hexadecimal digits.
    """

    library: ctypes.CDLL
    name: str


def load_build(folder: Path) -> Build:
    """Load the operators from ``folder``, compiled first unless they are there; processes may do so at the same time.

    Raises:
        NoKernelsError: there is no compiler, it fails, or the folder cannot be written.
    """
    if sys.platform == "win32":
        raise NoKernelsError("on Windows they are not built")
    compiler = _find_compiler()
    source = (resources.files(__package__) / "assets" / "kernels.cc").read_bytes()
    name = _name_of(source, compiler)
    target = folder / f"kernels_{name}.so"
    try:
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with files.locked(target, timeout_s=_COMPILING_S):
                if not target.is_file():  # nobody else has made it meanwhile
                    files.write_bytes(target, _compiled_beside(target, source, compiler))
        return Build(ctypes.CDLL(str(target)), name)
    except OSError as error:
        raise NoKernelsError(f"{target} cannot be written or loaded: {error}") from None


def _find_compiler() -> str:
    wanted = os.environ.get("CXX", "").split()
    for name in wanted[:1] or _COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise NoKernelsError(f"no C++ compiler: {' '.join(wanted[:1]) or ', '.join(_COMPILERS)} not found")


def _name_of(source: bytes, compiler: str) -> str:
    facts = [compiler, _output([compiler, "--version"]), " ".join(_FLAGS), platform.machine(), _processor()]
    return hashlib.sha256(source + "\0".join(facts).encode()).hexdigest()[:_KEY_LENGTH]


def _processor() -> str:
    """Return model and instructions of the processor, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor()
    first = text.split("\n\n", 1)[0].splitlines()
    return "\n".join(sorted(line for line in first if line.startswith(("model name", "flags", "Features", "CPU "))))


def _compiled_beside(target: Path, source: bytes, compiler: str) -> bytes:
    """Compile for this processor in a folder beside ``target``, which goes with the next build if this one is killed.

    Raises:
        OSError: the folder cannot be written.
    """
    scratch = temporaries.new_folder(target, mode=0o700)
    try:
        return _compiled(source, compiler, scratch.path)
    finally:
        scratch.discard()


def _compiled(source: bytes, compiler: str, scratch: Path) -> bytes:
    code, library = scratch / "kernels.cc", scratch / "kernels.so"
    code.write_bytes(source)
    problem = ""
    for flag in _FLAGS_OF_PROCESSOR:
        flags = [*_FLAGS, *filter(None, [flag])]
        problem = _run([compiler, *flags, str(code), "-o", str(library)], scratch=scratch)
        if not problem:
            return library.read_bytes()
    raise NoKernelsError(f"{compiler} fails: {problem:.200}")


def _run(command: Sequence[str], *, scratch: Path) -> str:
    """Run a compiler; returns the first line of its complaint, or nothing when all is well.

    Its own temporary files go into ``scratch``, too. One whose starter is killed ends by itself, within seconds.
    """
    environment = {**os.environ, "TMPDIR": str(scratch)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_COMPILING_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return lines[0] if lines else f"exit code {done.returncode}"


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernelsError(f"{command[0]} does not run: {error}") from None
