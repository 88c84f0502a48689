"""Record what facenet-pytorch makes of MTCNN's weights, for tests/pipeline/test_detection_mtcnn.py.

Run it in a throwaway environment (it needs no Paddle), with the root of the repository as PYTHONPATH:

    python -m venv /tmp/originals
    /tmp/originals/bin/pip install torch==2.13.0 torchvision==0.28.0 numpy pillow tqdm requests opencv-python-headless
    /tmp/originals/bin/pip install --no-deps facenet-pytorch==2.6.0
    /tmp/originals/bin/python tools/model_conversion/record_mtcnn_references.py --photo demo/queries/group.jpg \
        --references tests/fixtures/model_references.npz --output tests/fixtures/mtcnn_references.npz

Of the networks, PNet sees a piece of the scene of the other references, RNet their crops at half the size; of the whole
cascade, with the settings that it comes with, the group picture is recorded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from facenet_pytorch import MTCNN

from arcface_paddle import images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    with np.load(args.references, allow_pickle=False) as references:
        piece, crops = references["scene"][30:79, 90:134], references["crops"][:, ::2, ::2]
    original = MTCNN(keep_all=True)
    with torch.no_grad():
        pnet_box, pnet_probability = original.pnet(normalize(piece[None]))
        rnet_box, rnet_probability = original.rnet(normalize(crops))
        boxes, scores, landmarks = original.detect(images.read_image(args.photo), landmarks=True)
    np.savez_compressed(
        args.output,
        pnet_box=pnet_box.numpy(),
        pnet_probability=pnet_probability.numpy(),
        rnet_box=rnet_box.numpy(),
        rnet_probability=rnet_probability.numpy(),
        boxes=np.asarray(boxes, np.float32),
        scores=np.asarray(scores, np.float32),
        landmarks=np.asarray(landmarks, np.float32),
    )


def normalize(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(((pictures.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2).copy())


if __name__ == "__main__":
    main()
