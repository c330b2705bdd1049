"""F1 of a model on a data set, measured through its exported SavedModel.

    python benchmarks/accuracy.py MODEL --data CONLL2003 [--part test] [--unescape] [--labels ...]

From tokens: the signature `tokens`. From raw text: the sentences joined by single spaces go through
`entities`; an entity counts as right if its characters and its label are those of the gold entity.
MODEL is the name of a model that comes with kerasner, or a folder of a trained one. The data are
files in CoNLL-2003's format, of any language and labels; OntoNotes' need --unescape. With --labels
entities of other labels count neither as gold nor as found, and one can be taken for another, as in
`--labels PER PERSON=PER ORG`, where a model and a data set have different labels.
"""

import sys

import _common
import _scoring
import tensorflow as tf


def main() -> None:
    given = _scoring.arguments(__doc__.splitlines()[0], ["train", "valid", "test"], "test")
    with _scoring.exported(given.model) as signatures:
        by_tokens = _scoring.from_tokens(signatures["tokens"], given.samples, given.labels)
        texts = [_scoring.text_of(*sample) for sample in given.samples]
        by_text = _scoring.from_text(signatures["entities"], texts, given.labels)
    print(by_tokens, file=sys.stderr)
    _common.write(
        _scoring.result_name("accuracy", given),
        {
            "tensorflow": tf.__version__,
            "sentences": len(given.samples),
            "F1 from tokens": round(by_tokens.total.f1, 2),
            "precision": round(by_tokens.total.precision, 2),
            "recall": round(by_tokens.total.recall, 2),
            "F1 from tokens by type": {
                name: round(score.f1, 2) for name, score in by_tokens.types.items()
            },
            "F1 from raw text": round(by_text.f1, 2),
        },
    )


if __name__ == "__main__":
    main()
