"""A picture with its faces, as ``Analyzer`` returns it: it can be drawn, saved, and shown in a notebook."""

from __future__ import annotations

import base64
import html
import os
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ImageError
from arcface_paddle.images import ImageSource
from arcface_paddle.pipeline import drawing
from arcface_paddle.types import Face, ImageResult

_NOTEBOOK_PIXELS = 1024  # longest side of a picture inside a notebook, whose file keeps every picture that was shown
_NOTEBOOK_QUALITY = 85


@dataclass(frozen=True, eq=False, repr=False)
class AnalyzedImage(ImageResult):
    """All faces of one picture, and what is needed to draw them.

    The decoded picture is not kept, only what was analysed: a path is read again when the picture is asked for, so
    that the results of a hundred thousand files take no more memory than their faces. Who analyses arrays (the frames
    of a video) and collects the results keeps these arrays alive; ``without_picture()`` lets go of them.

    Attributes:
        given: what was analysed: path, encoded bytes, array or PIL image.

    Example:
        >>> import numpy as np
        >>> wall = np.full((60, 80, 3), 128, np.uint8)
        >>> result = AnalyzedImage("array", (80, 60), (), wall)
        >>> result
        AnalyzedImage('array', 80x60, 0 faces)
        >>> result.draw().shape
        (60, 80, 3)
    """

    given: ImageSource = field()

    @property
    def image(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB; a file is decoded again at every access.

        Raises:
            ImageError: the file is gone, or holds a picture of another size by now.
        """
        image = self.given if isinstance(self.given, np.ndarray) else images.load_image(self.given)
        size_wh = (image.shape[1], image.shape[0])
        if size_wh != self.size_wh:
            raise ImageError(
                f"{self.source}: the picture has changed since it was analysed: {size_wh[0]}x{size_wh[1]} pixels, "
                f"{self.size_wh[0]}x{self.size_wh[1]} then; analyse it again"
            )
        return image

    def draw(self, *, font_path: Optional[files.PathLike] = None) -> np.ndarray:
        """Return the picture with a box and a name for every face, (H, W, 3) uint8 RGB.

        Args:
            font_path: TrueType or OpenType font; None takes the one of the package, which has Chinese characters.

        Raises:
            ImageError: the picture is gone, see ``image``.
            ConfigError: the font cannot be read.
        """
        return drawing.draw_faces(self.image, self.faces, font_path=font_path)

    def save(self, path: files.PathLike, *, font_path: Optional[files.PathLike] = None) -> None:
        """Write the picture with its boxes and names; the suffix of ``path`` chooses the format.

        Raises:
            ImageError: the picture is gone, the suffix is not known, or the file cannot be written.
            ConfigError: the font cannot be read.
        """
        images.write_image(path, self.draw(font_path=font_path))

    def without_picture(self) -> ImageResult:
        """Return the faces alone, for collections of results whose pictures are arrays."""
        return ImageResult(self.source, self.size_wh, self.faces)

    def _repr_html_(self) -> str:
        """Show the annotated picture and a table of its faces in a notebook; nothing is loaded from elsewhere."""
        caption = f"<div>{html.escape(self.source)}, {self.size_wh[0]} × {self.size_wh[1]}</div>"
        return f"<div>{self._html_picture()}{caption}{_html_table(self.faces)}</div>"

    def _html_picture(self) -> str:
        try:
            annotated = images.shrink(self.draw(), longest_side=_NOTEBOOK_PIXELS)
        except ImageError as error:  # a notebook shows the faces all the same
            return f"<div>{html.escape(str(error))}</div>"
        content = images.encode_image(annotated, suffix=".jpg", quality=_NOTEBOOK_QUALITY)
        address = f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"
        return f'<img alt="{html.escape(self.source)}" style="max-width: 100%" src="{address}">'


def name_of(given: Any) -> str:
    """Return what a result is called when the caller does not say: the path as text, else a word for the kind.

    Example:
        >>> name_of("photos/group.jpg"), name_of(b"..."), name_of(np.zeros((2, 2, 3), np.uint8))
        ('photos/group.jpg', 'bytes', 'array')
    """
    if isinstance(given, (str, os.PathLike)):
        return files.printable(given)
    if isinstance(given, np.ndarray):
        return "array"
    if isinstance(given, (bytes, bytearray, memoryview)):
        return "bytes"
    return images.file_name_of(given) or "picture"


def _html_table(faces: tuple[Face, ...]) -> str:
    if not faces:
        return "<div>no face found</div>"
    rows = [
        f"<tr><td>{number}</td><td>{html.escape(face.name or '-')}</td><td>{_shown(face.similarity)}</td>"
        f"<td>{_shown(face.detection.score)}</td></tr>"
        for number, face in enumerate(faces, start=1)
    ]
    return f"<table><tr><th>face</th><th>name</th><th>similarity</th><th>detection</th></tr>{''.join(rows)}</table>"


def _shown(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.3f}"
