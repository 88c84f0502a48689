"""Names among which the flags of evaluation choose; it imports nothing heavy, because --help needs it."""

from __future__ import annotations

DEFAULT_NETWORK = "MobileFaceNet_128"
"""Network of the published checkpoints."""

POOLINGS = ("mean", "best")
"""How the pictures of a person stand for the person, see ``identification``."""

THRESHOLDS = ("far_1e2", "far_1e3", "far_1e4", "identification")
"""The thresholds of a card: between two pictures at FAR 1e-2, 1e-3 and 1e-4, and of a search."""

# How they fared: 3,000 pairs of synthetic people (half of one person), the shipped MobileFace, mirrored pictures added.
MEASURE_NOTES = {
    "diff": ("squared L2 distance of unit vectors = 2 - 2 cos, the published protocol", "AUC .9847"),
    "cos": ("1 - cosine, the order of diff on a threshold grid twice as coarse", "AUC .9847, the same"),
    "corr": (
        "largest cross-correlation over all shifts, though shifting an embedding has no meaning",
        "AUC .9846: alike pairs keep their cosine, strangers are raised; slower",
    ),
    "fft_corr": ("the same number as corr by the Fourier transform", "AUC .9846"),
    "ssim": ("the formula of image SSIM on the vector as one window", "AUC .9716, worse"),
}
"""What the measures of ``similarity.MEASURES`` measure, and how they fared; the first is the default."""
