"""The command line: argparse to dataclass to one call; the only place that prints and sets exit codes."""
