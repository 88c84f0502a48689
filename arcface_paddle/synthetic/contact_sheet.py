"""One picture of many: a row per person."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.synthetic.layout import DatasetSettings

MAX_ROWS, MAX_COLUMNS = 20, 16


def write_contact_sheet(path: files.PathLike, root: files.PathLike, settings: DatasetSettings) -> tuple[int, int]:
    """Draw the first people of a finished dataset and write the sheet to ``path``.

    Returns:
        Number of rows (people) and columns (pictures of each).

    Raises:
        DataError: the dataset cannot be read.
        ImageError: a picture cannot be decoded, or the sheet not be written.
    """
    dataset = open_dataset(Path(root), kind=settings.format, image_size=settings.size)
    rows = min(settings.identities, MAX_ROWS)
    columns = min(settings.images_per_identity, MAX_COLUMNS)
    size = settings.size
    sheet = np.empty((rows * size, columns * size, 3), dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            index = row * settings.images_per_identity + column
            content = dataset.read_encoded(index)
            picture = images.decode_crop(content, name=dataset.path_of(index))
            sheet[row * size : (row + 1) * size, column * size : (column + 1) * size] = picture
    images.write_image(path, sheet)
    return rows, columns
