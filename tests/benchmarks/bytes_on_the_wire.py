# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/results/bytes.md: bytes of a round with and without rounded messages, and what rounding costs.

    python tests/benchmarks/bytes_on_the_wire.py messages          one round of each, a minute
    python tests/benchmarks/bytes_on_the_wire.py dice --seeds 0 1  six runs of minutes each; keeps them in bytes.jsonl

FLARE's own filters need bitsandbytes, which is none of the project's requirements; without it their rows stay empty.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from bytes_cost import dice, messages


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["messages", "dice"], help="what to measure")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="training seeds of the Dice")
    args = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    if "messages" in args.parts:
        with tempfile.TemporaryDirectory(prefix="fedpac_me_bytes_") as folder:
            print("\n".join(messages.section(Path(folder))))
    if "dice" in args.parts:
        print("\n".join(dice.section(args.seeds)))


if __name__ == "__main__":
    main()
