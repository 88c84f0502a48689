"""The demonstration behind ``make demo``: every step is a command that a user could type, printed before it runs.

    python demo/run.py --output output [--skip_training]

Photographs: build a gallery, recognise the queries, check the names against what is known to be true.
Training: render synthetic identities, train on two processes, validate on held-out people, export, and recognise with
the exported model.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = {
    "obama_speech_2009.jpg": ["Barack Obama"],
    "obama_blue_room.jpg": ["Barack Obama"],
    "biden_relit.jpg": ["Joe Biden"],
    "hopper_relit.jpg": ["Grace Hopper"],
    "stranger_collins.jpg": ["unknown"],
    "group.jpg": ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for everything that is written")
    parser.add_argument("--skip_training", action="store_true", help="photographs only (half a minute)")
    args = parser.parse_args()
    start = time.monotonic()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    recognise_photographs(output)
    if not args.skip_training:
        train_and_use(output)
    print(f"\nDone in {time.monotonic() - start:.0f} s. Look at {args.output}/: annotated pictures, reports, curves.")
    return 0


def recognise_photographs(output: Path) -> None:
    title("1. Photographs in, named faces out")
    run("arcface-paddle", "demo", f"--output={output}", "--overwrite")
    check_names(output / "recognised.json")


def check_names(result: Path) -> None:
    """Compare the names in the JSON output with the truth; a wrong one ends the demonstration."""
    found = {}
    for image in json.loads(result.read_text(encoding="utf-8"))["images"]:
        found[Path(image["source"]).name] = sorted(face["name"] for face in image["faces"])
    wrong = {name: found.get(name) for name, people in EXPECTED.items() if found.get(name) != people}
    if wrong:
        sys.exit(f"these pictures were not recognised as they should be: {wrong}")
    faces = sum(map(len, EXPECTED.values()))
    print(f"All {faces} faces of {len(EXPECTED)} pictures found and named as they should be, the stranger as unknown.")


def train_and_use(output: Path) -> None:
    faces, run_folder, exported = output / "faces", output / "run", output / "exported"
    title("2. No data? Render people")
    run(
        "arcface-paddle",
        *("synth", str(faces), "--identities=60", "--images_per_identity=8", "--val_identities=30"),
        *("--val_pairs=600", "--workers=2", f"--contact_sheet={output / 'faces.png'}", "--overwrite"),
    )
    title("3. Train a small network from scratch, on two processes; validate on people it has never seen")
    shutil.rmtree(run_folder, ignore_errors=True)
    run(
        "python",
        *("-m", "paddle.distributed.launch", "--nproc_per_node=2", f"--log_dir={output / 'launch'}", "train.py"),
        *("--config=configs/synthetic_2core.yaml", f"--data_dir={faces}", f"--output={run_folder}"),
        f"--logdir={output / 'visualdl'}",
    )
    title("4. Validate: the published protocol and what it leaves out, against the shipped recogniser")
    weights = run_folder / "MobileFaceNet_128.pdparams"
    run(
        "python",
        *("valid.py", f"--model={weights}", "--model=MobileFace", f"--data_dir={faces}", "--val_targets=synthetic"),
        f"--report={output / 'validation'}",
    )
    title("5. Export through the parity gate, calibrate, recognise")
    run(
        "python",
        *("export_inference_model.py", f"--pretrained_model={weights}", f"--output={exported}"),
    )
    run("arcface-paddle", "calibrate", str(exported), f"--data={faces / 'synthetic.bin'}")
    use_exported(output, exported)


def use_exported(output: Path, exported: Path) -> None:
    """Build a gallery with the exported model and recognise; a network this young knows rendered people only."""
    people, gallery = output / "people", output / "people.index"
    run(
        "arcface-paddle",
        *("synth", str(people), "--identities=6", "--images_per_identity=4", "--seed=99", "--full_frame"),
        *("--format=folder", "--overwrite"),
    )
    probes = output / "people_probes"
    part_gallery_and_probes(people, probes)
    model = f"--rec_model={exported}"
    run("test_recognition", f"--build_index={gallery}", f"--img_dir={people}", model, partial_is_fine=True)
    run(
        "test_recognition",
        *("--det", "--rec", f"--index={gallery}", f"--input={probes}", model),
        f"--output={output / 'recognised_with_own_model'}",
    )


def part_gallery_and_probes(people: Path, probes: Path) -> None:
    """Move the last picture of every person out of the tree of ``people`` into the folder ``probes``."""
    shutil.rmtree(probes, ignore_errors=True)
    probes.mkdir(parents=True)
    for person in sorted(path for path in people.iterdir() if path.is_dir()):
        last = max(person.iterdir())
        last.rename(probes / f"of_{person.name}{last.suffix}")


def run(command: str, *arguments: str, partial_is_fine: bool = False) -> None:
    """Print a command and run it; its failure ends the demonstration with its exit code.

    Exit code 1 (done, but some inputs were bad and reported) is accepted when ``partial_is_fine``.
    """
    shown = shlex.join([command, *arguments])
    print(f"\n$ {shown}", flush=True)
    program = Path(sys.executable).with_name(command)
    status = subprocess.run([str(program), *arguments], cwd=HERE.parent, check=False).returncode
    if status and not (status == 1 and partial_is_fine):
        sys.exit(f"exit code {status} from: {shown}")


def title(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


if __name__ == "__main__":
    sys.exit(main())
