"""Text models run by something faster than torch: exported once, checked, then without torch.

::

    table.py      the engines and what each needs
    exported.py   a folder with an exported model: its manifest, its checksums
    from_torch.py a sentence-transformers model to ONNX, whole, compared with torch before it is kept
    kept.py       exports in the cache, one for each model
    sessions.py   ONNX Runtime and OpenVINO behind one call
    encoder.py    the encoder: batches, prompts and limits as with torch, and a fingerprint of its own
    choose.py     ``engine="auto"``: a short trial on the user's own texts
"""

from __future__ import annotations

from embedtune.encoders.engines.table import ENGINES

__all__ = ["ENGINES"]
