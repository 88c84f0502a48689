"""Where the faces of photographs go: the same place, the same stem, and never the place of another face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from arcface_paddle import files


@dataclass(frozen=True)
class FaceNames:
    """Where the faces of photographs go.

    Attributes:
        of: for each photograph, the path of its face below the target.
        renamed: photographs whose face did not get their stem, because another photograph shares it: the photograph,
            its face, and the other photograph.
        doubtful: faces whose stem several photographs share. What stands there may be of another one than today:
            a photograph that was added since may come first now.
    """

    of: list[str]
    renamed: tuple[tuple[str, str, str], ...]
    doubtful: frozenset[str]


def face_names(photographs: list[str], target: files.PathLike) -> FaceNames:
    """Name the faces: ``a/b.jpg`` becomes ``a/b.png``.

    Keeping the stem lets a list of the photographs (LFW's pairs.txt, for one) find the faces. Where several photographs
    share a stem (``b.jpg`` and ``b.webp``), the first gets it and the later ones keep their own suffix as well
    (``b.webp.png``). A face that an earlier version wrote as ``b.jpg.png`` stays where it is.

    Args:
        photographs: paths relative to the source, in order; one that comes twice has one face.
        target: the folder in which earlier faces may lie; nothing is written.
    """
    namer = _Namer(list(dict.fromkeys(photographs)), Path(target))
    name_of = {photograph: namer.name(photograph) for photograph in namer.photographs}
    renamed, doubtful = [], set()
    for photograph, name in name_of.items():
        others = [other for other in namer.sharers_of(photograph) if other != photograph]
        if others and name == _with_png(photograph):
            doubtful.add(name)
        elif others:
            renamed.append((photograph, name, others[0]))
    return FaceNames([name_of[photograph] for photograph in photographs], tuple(renamed), frozenset(doubtful))


class _Namer:
    """Gives each face a name of its own. Case does not count: on most Macs A.png and a.png are one file."""

    def __init__(self, photographs: list[str], target: Path) -> None:
        self.photographs = photographs
        self._target = target
        self._given: set[str] = set()
        self._sharers: dict[str, list[str]] = {}
        for photograph in photographs:
            self._sharers.setdefault(_with_png(photograph).casefold(), []).append(photograph)

    def sharers_of(self, photograph: str) -> list[str]:
        """Return the photographs that share a stem with this one, itself included."""
        return self._sharers[_with_png(photograph).casefold()]

    def name(self, photograph: str) -> str:
        """Return the name of the photograph's face, which no other face has got or will get."""
        name = self._candidate(photograph)
        self._given.add(name.casefold())
        return name

    def _candidate(self, photograph: str) -> str:
        plain, older = _with_png(photograph), _older_name(photograph)
        if self._is_free(older) and is_complete(self._target / older):
            return older
        if plain.casefold() not in self._given:
            return plain
        name, number = f"{photograph}.png", 1
        while not self._is_free(name):
            number += 1
            name = f"{photograph}.{number}.png"
        return name

    def _is_free(self, name: str) -> bool:
        return name.casefold() not in self._given and name.casefold() not in self._sharers


def _with_png(photograph: str) -> str:
    path = PurePosixPath(photograph)
    return path.with_name(f"{path.stem}.png").as_posix()


def _older_name(photograph: str) -> str:
    """Return what earlier versions called the face: with the photograph's suffix, unless that was .png already."""
    return photograph if photograph.lower().endswith(".png") else f"{photograph}.png"


def is_complete(path: Path) -> bool:
    """Tell whether a face is there: files appear as a whole, but a power cut can leave an empty one."""
    return path.is_file() and path.stat().st_size > 0
