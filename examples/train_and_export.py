"""Render people, train a tiny network on them, export it, and compare two pictures with it: all in Python.

It learns too little to tell people apart; more people, pictures and steps make it better. From the repository's root:

    python examples/train_and_export.py output/tiny --steps 6
"""

import argparse
from pathlib import Path

from arcface_paddle import build_detector, build_recognizer
from arcface_paddle.export.exporter import export_model
from arcface_paddle.export.graph import GraphSettings
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.comparison import compare_faces
from arcface_paddle.pipeline.settings import ThresholdSettings
from arcface_paddle.synthetic.layout import DatasetSettings
from arcface_paddle.synthetic.writer import write_dataset
from arcface_paddle.training.config import config_from
from arcface_paddle.training.trainer import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    faces, run, exported = args.output / "faces", args.output / "run", args.output / "exported"

    people = DatasetSettings(identities=8, images_per_identity=4, val_identities=4, val_pairs=40)
    write_dataset(faces, people, workers=1, existing="resume")
    settings = {"data_dir": faces, "val_targets": "synthetic", "width": 0.25, "batch_size": 16, "steps": args.steps}
    train(config_from({**settings, "validate_every": args.steps, "output": run, "logdir": ""}), say=print)

    source = NetworkSource("MobileFaceNet_128", str(run / "MobileFaceNet_128.pdparams"))
    result = export_model(source, exported, model_format="pdmodel", settings=GraphSettings())
    print(f"exported: {', '.join(result.files)}; smallest cosine to the network {result.parity.min_cosine:.7f}")

    analyzer = Analyzer(build_detector(), build_recognizer(exported))
    pictures = "demo/queries/obama_speech_2009.jpg", "demo/queries/obama_blue_room.jpg"
    found = compare_faces(analyzer, *pictures, threshold_settings=ThresholdSettings(0.5))
    print(f"similarity {found.similarity:.3f}")


if __name__ == "__main__":
    main()
