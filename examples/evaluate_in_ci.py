"""A gate for CI: judge a saved model on held-out labels; exit 1 if it is surely worse than its base.

``python examples/evaluate_in_ci.py FOLDER [DATA]``, FOLDER being what ``tuned.save`` wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

from embedtune import evaluate

HELD_OUT = Path(__file__).parent / "data/held_out.csv"


def main(folder: Path, data: Path = HELD_OUT) -> int:
    """Give 0 where the model may go out, 1 where it may not."""
    result = evaluate(data, model=str(folder))
    print(result.text())
    if result.ci95[1] < 0:
        print("worse than the base, beyond chance", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
