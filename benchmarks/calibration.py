"""Whether scores mean what they say: before and after a temperature, through the SavedModel.

    python benchmarks/calibration.py MODEL --data CONLL2003 [--part valid]

Of tokens (signature `tokens`) and of entities (signature `entities`, sentences joined by single
spaces): the expected calibration error, 15 bins of equal width; of entities also how many are right
among those of at least a score. Before: temperature 1. After: the temperature of the model or,
where it has none, one that is fitted to the part valid here.
"""

import tempfile
from pathlib import Path

import _common
import _scoring
import numpy as np
import tensorflow as tf

import kerasner
from kerasner import calibration

error = calibration.expected_calibration_error
THRESHOLDS = (0.5, 0.9, 0.99)


def main() -> None:
    given = _scoring.arguments(__doc__.splitlines()[0], ["valid", "test"], "valid")
    is_folder = Path(given.model).is_dir()
    load = kerasner.Tagger.load if is_folder else kerasner.pretrained
    tagger = load(given.model)
    temperature = tagger.model.temperature
    if temperature == 1.0:
        valid = _common.sentences(given.data, "valid", unescape=given.unescape)
        temperature = calibration.calibrate(tagger, valid)
    result = {"tensorflow": tf.__version__, "sentences": len(given.samples)}
    with tempfile.TemporaryDirectory() as folder:
        for value in (1.0, temperature):
            calibration.set_temperature(tagger, value)
            place = tagger.export(f"{folder}/{value}")
            signatures = tf.saved_model.load(str(place)).signatures
            result[f"temperature {value}"] = measured(signatures, given.samples, given.labels)
    _common.write(_scoring.result_name("calibration", given), result)


def measured(signatures, samples, labels) -> dict:
    """Calibration errors in percent, and precision by threshold."""
    answers = list(_scoring.tagged(signatures["tokens"], samples))
    of_tokens = np.concatenate([scores for _, scores in answers])
    rows = zip(answers, samples, strict=True)
    is_right = np.concatenate(
        [np.equal(_scoring.of_labels(labels, tags), gold) for (tags, _), (_, gold) in rows]
    )
    texts = [_scoring.text_of(*sample) for sample in samples]
    rows = zip(texts, _scoring.entities(signatures["entities"], texts, labels), strict=True)
    scored = [
        (entity.score, entity[:3] in text.entities) for text, found in rows for entity in found
    ]
    of_entities, correct = np.array(scored).reshape(-1, 2).T
    return {
        "calibration error of tokens": _percent(error(of_tokens, is_right)),
        "calibration error of entities": _percent(error(of_entities, correct)),
        "entities": len(of_entities),
        "mean score": _percent(of_entities.mean()),
        "precision": _percent(correct.mean()),
        "by score": {
            f">= {threshold}": {
                "entities": int((of_entities >= threshold).sum()),
                "share": _percent((of_entities >= threshold).mean()),
                "precision": _percent(correct[of_entities >= threshold].mean()),
            }
            for threshold in THRESHOLDS
            if (of_entities >= threshold).any()
        },
    }


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


if __name__ == "__main__":
    main()
