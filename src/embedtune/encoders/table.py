"""The table of encoders."""

from __future__ import annotations

from embedtune.registry import Entry, Registry

ENCODERS = Registry(
    "encoder",
    {
        "transformer": Entry(
            "embedtune.encoders.transformer:TransformerEncoder",
            "text models that sentence-transformers runs",
            extra="local",
            module="sentence_transformers",
        ),
        "static": Entry(
            "embedtune.encoders.static:StaticEncoder",
            "token tables averaged over a text: wordllama, model2vec, StaticEmbedding; no torch",
            extra="static",
            module="tokenizers",
        ),
        "vectors": Entry(
            "embedtune.encoders.vectors:VectorsEncoder",
            "precomputed vectors by id: .npy, Parquet or Arrow files",
        ),
        "api": Entry(
            "embedtune.encoders.api.encoder:ApiEncoder",
            "models behind an API: OpenAI and compatible servers, Azure, Voyage, Cohere, Gemini, Mistral",
            extra="api",
            module="httpx",
        ),
        "image": Entry(
            "embedtune.encoders.image:ImageEncoder",
            "images: EfficientNet-Lite0, ImageNet weights from a package",
            extra="images",
            module="torch",
        ),
        "clip": Entry(
            "embedtune.encoders.clip:ClipEncoder",
            "texts and images in one space: CLIP folders of sentence-transformers",
            extra="images",
            module="sentence_transformers",
        ),
        "export": Entry(
            "embedtune.encoders.engines.encoder:ExportEncoder",
            "text models exported to ONNX or OpenVINO by `embedtune export`; no torch",
            extra="fast",
            module="tokenizers",
        ),
    },
)
