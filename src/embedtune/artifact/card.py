"""The model card: what the artifact is, whether it helped, how to use it, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMED = 20
"""Classes named in the card, at most."""

_KINDS = {
    "item_deltas": "a shift for each known document",
    "read_on": "long documents moved to all that they say: known ones by their ids, new ones by their texts",
    "item_factors": "two vectors for each known item, one for histories and one to be found",
    "int8": "documents rounded to one byte a dimension",
    "int4": "documents rounded to half a byte a dimension",
    "binary": "documents rounded to one bit a dimension",
    "pooled": "vectors as they are, and a pooling of histories",
}
_STRATA = ("overall", "seen", "unseen")
_WORDS = ("text", "summary", "words", "reason", "decision", "verdict")
_SIDES = {
    "query": "queries are mapped, documents are not: stored document vectors of the base stay valid",
    "document": "documents are mapped, queries are not",
    "both": "queries and documents are mapped, each by its own matrix",
    "shared": "queries and documents are mapped by the same matrix",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card of an artifact from its manifest, as Markdown with a YAML head."""
    parts = [
        _head(manifest),
        _verdict(manifest),
        _metrics(manifest),
        _slices(manifest),
        _retention(manifest),
        _classifier(manifest),
        _threshold(manifest),
        _how_to(manifest),
        _facts(manifest),
        _limits(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(manifest: Mapping[str, Any]) -> str:
    library = "sentence-transformers" if manifest["stock_loader"] != "none" else "embedtune"
    name = manifest["base"]["name"]
    return (
        f"---\nlibrary_name: {library}\npipeline_tag: sentence-similarity\ntags:\n- embedtune\n"
        f"- sentence-transformers\n- feature-extraction\n---\n\n# {name}, tuned with embedtune"
    )


def _verdict(manifest: Mapping[str, Any]) -> str:
    return f"## Verdict\n\n{verdict_words(manifest.get('verdict'))}"


def verdict_words(verdict: Any) -> str:
    """Give a verdict's own words, or say that there is none."""
    if isinstance(verdict, Mapping):
        words = next((verdict[key] for key in _WORDS if isinstance(verdict.get(key), str)), None)
        reasons = [
            str(reason) for reason in verdict.get("reasons") or () if isinstance(verdict.get("reasons"), list)
        ]
        if words:
            return "\n".join([words, *(f"- {reason}" for reason in reasons)])
    return (
        verdict if isinstance(verdict, str) else "None was given: nobody has judged whether this map helps."
    )


def _metrics(manifest: Mapping[str, Any]) -> str:
    metrics = manifest.get("metrics") or {}
    base, tuned = metrics.get("base"), metrics.get("tuned")
    if isinstance(base, Mapping) and isinstance(tuned, Mapping):
        rows = [(name, base.get(name), tuned.get(name)) for name in _STRATA if name in base or name in tuned]
        named = [base.get("metrics") or {}, tuned.get("metrics") or {}]
        rows += [(name, named[0].get(name), named[1].get(name)) for name in sorted({**named[0], **named[1]})]
        lines = [
            f"| {metrics.get('metric', 'metric')} | base | tuned |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {name} | {_number(before)} | {_number(after)} |" for name, before, after in rows]
    else:
        rows = [
            (name, value, None) for name, value in sorted(metrics.items()) if isinstance(value, (int, float))
        ]
        lines = [
            "| metric | value |",
            "| --- | --- |",
            *(f"| {name} | {_number(value)} |" for name, value, _ in rows),
        ]
    return "## Metrics\n\n" + "\n".join(lines) if rows else ""


def _slices(manifest: Mapping[str, Any]) -> str:
    """Give the gain of each slice, where any were asked for."""
    verdict = manifest.get("verdict")
    found = (verdict.get("slices") if isinstance(verdict, Mapping) else None) or ()
    lines = ["| slice | n | base | tuned | p, adjusted |", "| --- | --- | --- | --- | --- |"]
    for one in found:
        name = f"{one['column']} = {one['value']}".replace("|", "\\|").replace("\n", " ")
        told = "not tested" if one["p_holm"] is None else f"{one['p_holm']:.2g}"
        lines.append(f"| {name} | {one['n']} | {_number(one['base'])} | {_number(one['tuned'])} | {told} |")
    return "## Slices\n\n" + "\n".join(lines) if found else ""


def _retention(manifest: Mapping[str, Any]) -> str:
    """Say what the map does to items that it was not made for; nothing where the base is what ships."""
    verdict = manifest.get("verdict")
    kept = verdict.get("retention") if isinstance(verdict, Mapping) else None
    if not kept or not manifest["transforms"]:
        return ""
    before, after = (
        [mean, quantiles[0], quantiles[2], quantiles[4]]
        for mean, quantiles in zip(kept["anisotropy"], kept["quantiles"], strict=True)
    )
    names = ("mean", "5 % quantile", "median", "95 % quantile")
    return "\n".join(
        [
            "## What it keeps",
            "",
            f"Of the nearest others of {kept['n']} {kept['of']}, {kept['kept']:.0%} stay the nearest.",
            "",
            "| cosine of two of them | base | tuned |",
            "| --- | --- | --- |",
            *(f"| {name} | {a:.3f} | {b:.3f} |" for name, a, b in zip(names, before, after, strict=True)),
        ]
    )


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)


def _classifier(manifest: Mapping[str, Any]) -> str:
    """Say what the head answers, what it is and how far its probabilities can be trusted."""
    head = manifest.get("head")
    if not head:
        return ""
    settings = head["settings"]
    names = [f"`{' '.join(str(name).split())}`" for name in settings["classes"]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    listed = f"{len(names)} classes: {', '.join(names[:_NAMED])}{more}."
    facts = [f"Single-label: each text gets one of {listed}"]
    if not settings["single"]:
        facts = [
            f"Multi-label: each text gets any number of {listed}",
            f"A class is predicted from a probability of {settings['threshold']:.2f} on.",
        ]
    vote = f"a smooth vote of {head['items']} training items, whose vectors (not texts) are kept"
    regression = "a logistic regression on the tuned vectors"
    kinds = {"vote": vote, "regression": regression, "both": f"{regression}, and {vote}; both count alike"}
    facts.append(f"It is {kinds[head['kind']]}.")
    facts.append(
        f"Probabilities are calibrated out of fold (temperature {settings['temperature']:.3f}); "
        "`tuned.predict(texts, accuracy=0.9)` abstains where they do not promise so much."
        if head["calibrated"]
        else "Probabilities are not calibrated, so it cannot abstain."
    )
    return "## Classifier\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _threshold(manifest: Mapping[str, Any]) -> str:
    """Say from where on two texts are the same, and how often that is right."""
    found = manifest.get("threshold")
    if not found:
        return ""
    facts = [
        f"Two texts are the same from a similarity of {found['threshold']:.4f} on; meant by the same is a "
        f"score of at least {found['same_at']:g}.",
        f"It was chosen for {found['aim']} on {found['n']} pairs, {found['n_same']} of them the same, under "
        "maps that were not fitted to them.",
    ]
    for name in ("precision", "recall"):
        low, high = found[f"{name}_ci95"]
        facts.append(f"{name}: {found[name]:.3f} (95 % interval {low:.3f} to {high:.3f})")
    return "## The same or not\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _more_uses(manifest: Mapping[str, Any]) -> str:
    uses = ""
    if manifest.get("head"):
        uses += 'classes = tuned.predict(["a text", "another"])\n'
    if manifest.get("threshold"):
        uses += 'same, similarity = tuned.same(["a text"], ["another"])\n'
    if (manifest.get("data") or {}).get("task") == "recommendation":
        uses += (
            'items = {"id-1": "a text", "id-2": "another", "id-3": "a third"}\n'
            'hits = tuned.recommend(["id-1", "id-2"], items)  # a history, its latest item last\n'
        )
    return uses


def _how_to(manifest: Mapping[str, Any]) -> str:
    own = (
        '## Use\n\n```python\nimport embedtune\n\ntuned = embedtune.load("path/to/this/folder")\n'
        'queries = tuned.encode_queries(["a question"])\n'
        'documents = tuned.encode_documents(["a text", "another"])\n'
        'hits = tuned.search("a question", ["a text", "another"], k=2)\n'
        f"{_more_uses(manifest)}```"
    )
    if manifest["stock_loader"] == "none":
        return f"{own}\n\nThis folder does not load in sentence-transformers: {manifest['stock_why']}."
    stock = (
        "Without embedtune, in sentence-transformers"
        f"{' 5.0 or newer' if manifest['stock_routed'] else ''}:\n\n```python\n"
        "from sentence_transformers import SentenceTransformer\n\n"
        'model = SentenceTransformer("path/to/this/folder")\n'
        'queries = model.encode_query(["a question"])\n'
        'documents = model.encode_document(["a text", "another"])\n```'
    )
    if manifest["stock_loader"] == "without item deltas":
        stock += (
            "\n\nDocuments that have a delta of their own get it in embedtune only, by their ids; "
            "sentence-transformers gives them the vector that a new document gets."
        )
    if any(entry["kind"] in ("int8", "int4", "binary") for entry in manifest["transforms"]):
        stock += (
            "\n\nDocuments are rounded to codes in embedtune only "
            "(`tuned.encode_documents(texts, codes=True)`); sentence-transformers gives the vectors before."
        )
    if manifest["stock_routed"]:
        stock += (
            "\n\nQueries and documents take different ways: "
            "plain `model.encode` treats everything as a document. "
            "Servers that know no router (text-embeddings-inference among them) serve the base's vectors."
        )
    if manifest.get("head"):
        stock += "\n\nThe classifier is used in embedtune only; sentence-transformers gives the vectors."
    return f"{own}\n\n{stock}"


def _facts(manifest: Mapping[str, Any]) -> str:
    base, data = manifest["base"], manifest.get("data") or {}
    facts = [
        f"base: {base['name']}, {base['dimension']} dimensions, fingerprint `{base['fingerprint']}`",
        f"vectors: {manifest['dimension']} dimensions, compared by {manifest['similarity']}",
    ]
    facts += [f"map: {_transform_words(entry)}" for entry in manifest["transforms"]] or [
        "map: none, this is the base"
    ]
    if data:
        counts = ", ".join(f"{value} {name}" for name, value in sorted((data.get("counts") or {}).items()))
        facts.append(f"data: {data.get('task', 'unknown task')}{', ' if counts else ''}{counts}")
        if made := data.get("made"):
            facts.append(f"labels: {made['labels']} of {made['of']} were made, by {made['by']}")
        facts.append(f"data fingerprint: `{data.get('fingerprint', 'unknown')}`")
    if reference := manifest.get("reference"):
        facts.append(
            f"kept of it: the base's vectors (not texts) of {reference['rows']} that were trained on, by "
            "which `embedtune check` sees whether queries have moved away"
        )
    if manifest.get("seed") is not None:
        facts.append(f"seed: {manifest['seed']}")
    return "## Made from\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _transform_words(entry: Mapping[str, Any]) -> str:
    settings = entry["settings"]
    if entry["kind"] == "linear":
        return f"linear; {_SIDES[settings['sides']]}"
    return _KINDS.get(entry["kind"], str(entry["kind"]))


def _limits(manifest: Mapping[str, Any]) -> str:
    limits = [
        "The figures hold for data like the data above; judge again on your own before relying on them.",
        "Do not mix vectors of this model and of its base in one index, save where a side is not mapped.",
        "What the base cannot tell apart, a map of its vectors cannot either; its licence and biases apply.",
    ]
    if manifest["base"]["max_tokens"]:
        limits.append(f"Of a text, the first {manifest['base']['max_tokens']} tokens are read.")
        if any(entry["kind"] == "read_on" for entry in manifest["transforms"]):
            limits[-1] += (
                " What documents say beyond is in the shifts of known ones, and `encode_documents` reads it "
                "of new ones. Long documents that are encoded otherwise lack it, and are found less often."
            )
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)
