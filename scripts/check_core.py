"""Check, where no extra is installed, that the core works and that starting it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "sentence_transformers", "pandas", "sklearn")

IMPORT = f"""
import sys, embedtune
loaded = [name for name in {HEAVY} if name in sys.modules]
sys.exit(f"import embedtune loads {{', '.join(loaded)}}" if loaded else 0)
"""

HELP = f"""
import sys
from typer.testing import CliRunner
from embedtune.cli import app
result = CliRunner().invoke(app, ["--help"])
loaded = [name for name in (*{HEAVY}, "scipy.sparse", "pyarrow") if name in sys.modules]
sys.exit(f"embedtune --help loads {{', '.join(loaded)}}" if loaded else result.exit_code)
"""

TUNED = """
import embedtune
words = ["heart attack", "broken bone", "high sugar", "red eye"]
rows = [{"query": word, "positive": word.upper()} for word in words]
from embedtune.data import check, read
from embedtune.encoders import load_encoder
import numpy as np
data = read(rows)
assert [finding.code for finding in check(rows)], "check found nothing"
vectors = np.eye(4, dtype=np.float32)
encoder = load_encoder({"queries": (data.query_ids, vectors), "documents": (data.document_ids, vectors)})
tuned = embedtune.fine_tune(base_model=encoder, data=data)
assert tuned.verdict.decision.startswith("do not tune"), tuned.verdict.decision
"""

MISSING = """
from embedtune.encoders import load_encoder
from embedtune.errors import MissingExtra, ModelNotFound
try:
    load_encoder("all-MiniLM-L6-v2")
except (MissingExtra, ModelNotFound) as error:
    assert "pip install" in str(error), error
else:
    raise SystemExit("a transformer was loaded, so this is not the core alone")
"""


def main() -> int:
    """Run each piece in a Python of its own; give the number of failures."""
    failures = 0
    for name, code in {"import": IMPORT, "help": HELP, "tune": TUNED, "missing extra": MISSING}.items():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        failures += done.returncode != 0
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}", file=sys.stderr)
        print(done.stderr, end="", file=sys.stderr)
    return failures


if __name__ == "__main__":
    sys.exit(main())
