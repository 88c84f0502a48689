"""How good a picture of a face is for telling who it is: what can be measured, and one score.

The score is the geometric mean of the parts that are known, each 0 to 1::

    size         distance of the eyes in pixels of the picture: 8 gives 0, 40 and more give 1
    sharpness    of the aligned crop, see ``sharpness_of``
    pose         cosine of the angle between the face and the camera, 0 from 75 degrees on
    exposure     mean brightness of the crop: 1 from 60 to 200, 0 at 10 and at 250; times contrast: 1 from a standard
                 deviation of 25 on
    landmarks    1 as far as two looks agree, 0 from a doubt of .3 eye distances on

A geometric mean, because a face that is hopeless in one respect is hopeless, however good it is in the others. The
score ranks pictures; it is no probability. ``tools/benchmark.py quality`` measures how well it does so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np

from arcface_paddle.pipeline.alignment import COMMON_SIZE_WH, COMMON_TEMPLATE
from arcface_paddle.types import Detection
