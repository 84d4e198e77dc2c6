"""The options that every arm of ours takes: which model, where it is, which rows, what memory."""

import argparse


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all arms have; an arm adds its own."""
    found = argparse.ArgumentParser(description=description.splitlines()[0])
    found.add_argument("--key", required=True, help="model by name, such as phi-2")
    found.add_argument("--model", required=True, help="its checkpoint folder")
    found.add_argument("--data", required=True, help="JSONL of instruction, input, output")
    found.add_argument("--cap", type=float, default=24.0, help="GiB each process may take")
    return found
