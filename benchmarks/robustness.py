"""F1 of a model on sentences in other forms, beside that on the sentences as they are.

    python benchmarks/robustness.py MODEL --data CONLL2003 [--part valid]

Through the exported SavedModel, from tokens and, where white space matters only so, from raw text;
see accuracy.py. Of raw text an entity counts as right if its label is, and its characters are those
of its tokens in the text as it was changed. What is drawn (which gap becomes a tab, which quotes
take the place of others) is the same in every run. "usual spacing" puts no space before a comma or
after a bracket; "hyphens closed" none around a hyphen between words either, for data sets where it
is a token. In all other forms there is a space between any two tokens.
"""

import _common
import _forms
import _scoring
import tensorflow as tf


def main() -> None:
    given = _scoring.arguments(__doc__.splitlines()[0], ["valid", "test"], "valid")
    rows: dict[str, dict] = {}
    with _scoring.exported(given.model) as signatures:
        for name in _forms.FORMS:
            sentences = _forms.changed(name, given.samples)
            texts = [_scoring.text_of(*sentence) for sentence in sentences]
            by_text = _scoring.from_text(signatures["entities"], texts, given.labels)
            scores = {"F1 from raw text": by_text.f1}
            if all(sentence.gaps is None for sentence in sentences):
                samples = [sentence[:2] for sentence in sentences]
                by_tokens = _scoring.from_tokens(signatures["tokens"], samples, given.labels)
                scores = {"F1 from tokens": by_tokens.total.f1, **scores}
            share = sum(
                sentence != _forms.Sentence(list(tokens), list(tags))
                for sentence, (tokens, tags) in zip(sentences, given.samples, strict=True)
            ) / len(sentences)
            clean = next(iter(rows.values()), {})
            losses = {
                key.replace("F1", "loss"): round(clean[key] - score, 2) + 0.0
                for key, score in scores.items()
                if key in clean
            }
            scores = {key: round(score, 2) for key, score in scores.items()}
            rows[name] = {**scores, **losses, "sentences changed, %": round(100 * share, 1)}
            print(name, rows[name], flush=True)
    result = {"tensorflow": tf.__version__, "sentences": len(given.samples), "forms": rows}
    _common.write(_scoring.result_name("robustness", given), result)


if __name__ == "__main__":
    main()
