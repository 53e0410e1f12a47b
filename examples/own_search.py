"""A search of one's own: check the data, tune, read the verdict, search, save.

``python examples/own_search.py [FOLDER]``; needs ``embedtune[demo]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from embedtune import fine_tune, load
from embedtune.data import check, read

DATA = Path(__file__).parent / "data/pairs.csv"


def main(folder: Path) -> None:
    """Tune all-MiniLM-L6-v2 to the words of one office, and save the result in ``folder``."""
    data = read(DATA)
    for finding in check(data):
        print(f"{finding.severity}: {finding.message}")

    tuned = fine_tune(base_model="all-MiniLM-L6-v2", data=data)
    print(tuned.verdict.text())

    tuned.save(folder, overwrite=True)
    again = load(folder)
    for hit in again.search("my build is still waiting for its turn", data, k=3):
        print(f"{hit.score:.3f}  {hit.id}: {hit.text[:60]}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "tuned"))
