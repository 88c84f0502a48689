"""Small pictures of faces, for people to look at: nothing is recognised by them."""

from __future__ import annotations

import base64
from typing import Optional, Sequence, Union

import cv2
import numpy as np

from arcface_paddle import images

CROP_SIDE_PX = 112
_ROOM = 1.3  # sides of the crop and of the box: hair and chin help people to know a face
_JPEG_QUALITY = 85


def crop_of(image: np.ndarray, box_xyxy: Union[np.ndarray, Sequence[float]]) -> bytes:
    """Return the surroundings of a face of a picture (H, W, 3) uint8 RGB as a JPEG of 112 x 112."""
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    side = max(right - left, bottom - top) * _ROOM
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    scale = CROP_SIDE_PX / max(side, 1.0)
    shift = (CROP_SIDE_PX / 2 - scale * middle_x, CROP_SIDE_PX / 2 - scale * middle_y)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    crop = cv2.warpAffine(image, matrix, (CROP_SIDE_PX, CROP_SIDE_PX), flags=cv2.INTER_AREA)
    return images.encode_image(crop, suffix=".jpg", quality=_JPEG_QUALITY)


def data_uri(crop: Optional[bytes]) -> Optional[str]:
    """Return a crop as a browser shows it; None for none."""
    return None if crop is None else f"data:image/jpeg;base64,{base64.b64encode(crop).decode()}"
