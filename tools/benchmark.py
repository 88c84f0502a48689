"""Benchmarks, each against a named baseline in the same run; never a test.

    python tools/benchmark.py TOPIC [flags] [--json FILE]

A topic is a module of tools/benchmarks with ``NAME``, ``configure(parser)`` and ``run(args) -> list of rows``.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import platform
import sys
from pathlib import Path
from types import ModuleType

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import benchmarks  # noqa: E402  (found through the path set above)

from arcface_paddle import files  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with a subcommand for each topic."""
    parser = argparse.ArgumentParser(
        prog="python tools/benchmark.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(dest="topic", required=True)
    for name, module in load_topics().items():
        subparser = subparsers.add_parser(name, help=(module.__doc__ or "").splitlines()[0], description=module.__doc__)
        subparser.add_argument("--json", type=Path, help="also write the rows to this file")
        module.configure(subparser)
    return parser


def main() -> int:
    args = build_parser().parse_args()
    rows = load_topics()[args.topic].run(args)
    print(f"{args.topic} on {describe_machine()}")
    print_table(rows)
    if args.json:
        files.write_json(args.json, {"topic": args.topic, "machine": describe_machine(), "rows": rows})
    return 0


def load_topics() -> dict[str, ModuleType]:
    modules = [
        importlib.import_module(f"benchmarks.{info.name}")
        for info in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda info: info.name)
    ]
    return {module.NAME: module for module in modules if hasattr(module, "NAME")}


def describe_machine() -> str:
    """Name processor, cores available to this process, system and Python."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = f"{names[0]} x {len(names)}" if names else model
    return f"{model}, {platform.system()}, Python {platform.python_version()}"


def print_table(rows: list[dict]) -> None:
    """Print what fits into cells; series are for ``--json``."""
    from prettytable import PrettyTable

    if not rows:
        print("no rows")
        return
    columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, dict)))
    table = PrettyTable(columns)
    table.align = "l"
    for row in rows:
        table.add_row([format_cell(row.get(column, "")) for column in columns])
    print(table)


def format_cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
