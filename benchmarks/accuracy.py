"""F1 of a model on a data set, measured through its exported SavedModel.

    python benchmarks/accuracy.py MODEL --data CONLL2003 [--part test]

From tokens: the signature `tokens`. From raw text: the sentences joined by single spaces go through
`serving_default`; an entity counts as right if its characters and its label are those of the gold
entity. MODEL is the name of a model that comes with kerasner, or a folder of a trained one.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import _common

BATCH_SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder of the data set")
    parser.add_argument("--part", default="test", choices=["valid", "test"])
    arguments = parser.parse_args()

    samples = _common.sentences(arguments.data, arguments.part)
    with tempfile.TemporaryDirectory() as folder:
        export = Path(__file__).parent / "_export.py"
        subprocess.run([sys.executable, export, arguments.model, f"{folder}/model"], check=True)
        import tensorflow as tf

        signatures = tf.saved_model.load(f"{folder}/model").signatures
        by_tokens = from_tokens(signatures["tokens"], samples)
        by_text = from_text(signatures["serving_default"], samples)
    print(by_tokens, file=sys.stderr)
    _common.write(
        f"accuracy-{Path(arguments.model).name}-{arguments.part}",
        {
            "tensorflow": tf.__version__,
            "F1 from tokens": round(by_tokens.total.f1, 2),
            "F1 from tokens by type": {
                name: round(score.f1, 2) for name, score in by_tokens.types.items()
            },
            "F1 from raw text": round(by_text, 2),
        },
    )


def from_tokens(signature, samples):
    """conlleval's report."""
    import tensorflow as tf

    from kerasner import bio

    predicted = []
    for batch in _batches([tokens for tokens, _ in samples]):
        width = max(len(tokens) for tokens in batch)
        result = signature(tokens=tf.constant([t + [""] * (width - len(t)) for t in batch]))
        predicted += _decoded(result["tags"], result["lengths"])
    return bio.report([tags for _, tags in samples], predicted)


def from_text(signature, samples) -> float:
    """F1 in percent of entities as character spans."""
    import tensorflow as tf

    from kerasner import bio

    right = found = gold = 0
    for batch in _batches(samples):
        result = signature(text=tf.constant([" ".join(tokens) for tokens, _ in batch]))
        starts, ends = result["starts"].numpy(), result["ends"].numpy()
        rows = _decoded(result["tags"], result["lengths"])
        for row, ((tokens, tags), predicted) in enumerate(zip(batch, rows, strict=True)):
            offsets, position = [], 0
            for token in tokens:
                offsets.append((position, position + len(token)))
                position += len(token) + 1
            expected = {
                (label, offsets[a][0], offsets[b - 1][1]) for label, a, b in bio.entities(tags)
            }
            spans = {
                (label, int(starts[row, a]), int(ends[row, b - 1]))
                for label, a, b in bio.entities(predicted)
            }
            right += len(expected & spans)
            found += len(spans)
            gold += len(expected)
    return 200 * right / (found + gold)


def _batches(items: list) -> list[list]:
    return [items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE)]


def _decoded(tags, lengths) -> list[list[str]]:
    rows = zip(tags.numpy(), lengths.numpy(), strict=True)
    return [[tag.decode() for tag in row[:length]] for row, length in rows]


if __name__ == "__main__":
    main()
