"""A base or tuned model as ONNX or OpenVINO files that run without torch and without embedtune."""

from __future__ import annotations

from embedtune.exporting.export import export_model

__all__ = ["export_model"]
