"""What a dataset is, in numbers: samples, identities, pictures per identity, what its first picture holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle import image_headers, images
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.file_dataset import FolderDataset


@dataclass(frozen=True)
class DatasetFacts:
    """What can be said about a dataset without reading a picture.

    Attributes:
        reader: name of the class that reads it, which tells the layout.
        samples: number of samples.
        identities: labels that have a sample.
        classes: classes that a classifier needs; labels without a sample count.
        fewest: samples of the identity that has the fewest.
        most: samples of the identity that has the most.
        median: of the samples per identity.
        first_sample: where the first sample lies.
        passed_over: names of system folders that hold no samples, of a folder per identity.
    """

    reader: str
    samples: int
    identities: int
    classes: int
    fewest: int
    most: int
    median: float
    first_sample: str
    passed_over: tuple[str, ...] = ()

    @property
    def unused_labels(self) -> int:
        """Return the number of labels below ``classes`` that no sample has."""
        return self.classes - self.identities


@dataclass(frozen=True)
class StoredPicture:
    """A picture as it is stored.

    Attributes:
        size_wh: width and height in pixels.
        suffix: usual suffix of its format, "" when the format is not known.
        num_bytes: its length.
    """

    size_wh: tuple[int, int]
    suffix: str
    num_bytes: int


def dataset_facts(dataset: FaceDataset) -> DatasetFacts:
    """Count what a dataset holds."""
    # Not np.bincount: a single label of two thousand million would take 16 GB.
    per_identity = np.unique(dataset.labels, return_counts=True)[1]
    return DatasetFacts(
        reader=type(dataset).__name__,
        samples=len(dataset),
        identities=len(per_identity),
        classes=dataset.num_classes,
        fewest=int(per_identity.min()),
        most=int(per_identity.max()),
        median=float(np.median(per_identity)),
        first_sample=dataset.path_of(0),
        passed_over=dataset.passed_over if isinstance(dataset, FolderDataset) else (),
    )


def stored_picture(dataset: FaceDataset, index: int) -> StoredPicture:
    """Read one sample and say what it holds.

    Raises:
        DataError: it cannot be read.
        ImageError: it is no picture.
    """
    content = dataset.read_encoded(index)
    height, width = images.decode_crop(content, name=dataset.path_of(index)).shape[:2]
    return StoredPicture((width, height), image_headers.suffix_by_content(content) or "", len(content))
