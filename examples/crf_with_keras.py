"""A CRF in a plain Keras model: python examples/crf_with_keras.py [--epochs 12]

Keras, and of kerasner the layers with their loss and metric. The task is made up here: find dates
and people in sentences whose words tell little by themselves.
"may" is a month, a person or a verb, "5" a day or a number of guests, and in "on 5 may april left"
the date ends before april.
"""

import argparse
import random

import keras
import numpy as np
import tensorflow as tf

from kerasner import layers, losses, metrics

TAGS = ["O", "B-PER", "I-PER", "B-DATE", "I-DATE"]
GIVEN = "april may june august anna boris carla david".split()
FAMILY = "march day winter jones silva kim okafor".split()
MONTHS = "january february march april may june july august".split()
DATES = [
    "{month}",
    "{day} {month}",
    "{month} {day}",
    "{day} {month} {year}",
    "the {day} of {month}",
]
SENTENCES = [
    "{PER} met {PER} in {DATE}",
    "on {DATE} {PER} left",
    "{PER} and {PER} may march on {DATE}",
    "from {DATE} to {DATE} {PER} sold {day} houses",
    "{day} guests may have seen {PER}",
    "before {DATE} {PER} paid {year}",
    "does {PER} march in {DATE} or may {PER}",
]


def entity(label: str, pick: random.Random) -> list[str]:
    if label == "PER":
        return [pick.choice(GIVEN), *pick.sample(FAMILY, pick.randint(0, 1))]
    words = {"month": pick.choice(MONTHS), "day": pick.randint(1, 31), "year": number(pick)}
    return pick.choice(DATES).format(**words).split()


def number(pick: random.Random) -> int:
    return pick.randint(1950, 1980)


def sentence(pick: random.Random) -> tuple[list[str], list[str]]:
    """Words and their tags."""
    words, tags = [], []
    for part in pick.choice(SENTENCES).split():
        label = part.strip("{}")
        if label in ("PER", "DATE"):
            found = entity(label, pick)
            words += found
            tags += [f"B-{label}"] + [f"I-{label}"] * (len(found) - 1)
        else:
            words.append(part.format(day=pick.randint(1, 31), year=number(pick)))
            tags.append("O")
    return words, tags


def padded(rows: list[list], steps: int) -> np.ndarray:
    return np.array([row + [""] * (steps - len(row)) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    epochs = parser.parse_args().epochs

    keras.utils.set_random_seed(1)
    pick = random.Random(1)
    pairs = [sentence(pick) for _ in range(800)]
    steps = max(len(words) for words, _ in pairs)
    texts = padded([words for words, _ in pairs], steps)
    word_ids = keras.layers.StringLookup(mask_token="")  # 0 is padding
    word_ids.adapt(texts[:400])
    inputs = word_ids(tf.constant(texts)).numpy()
    # What stands at padded steps does not matter: the CRF knows the mask.
    targets = np.array(
        [[TAGS.index(tag) for tag in tags] + [0] * (steps - len(tags)) for _, tags in pairs]
    )

    words = keras.Input([None], dtype="int64")
    x = keras.layers.Embedding(word_ids.vocabulary_size(), 16, mask_zero=True)(words)
    x = layers.LSTM(16, bidirectional=True)(x)
    crf = layers.CRF(tags=TAGS)
    model = keras.Model(words, crf(x))
    model.compile(keras.optimizers.Adam(0.01), losses.CRFLoss(), metrics=[metrics.EntityF1(TAGS)])

    def f1() -> float:
        return model.evaluate(inputs[400:], targets[400:], verbose=0, return_dict=True)["f1"]

    print(f"F1 before training: {f1():.3f}")
    model.fit(inputs[:400], targets[:400], batch_size=16, epochs=epochs, verbose=0)
    print(f"F1 after {epochs} epochs: {f1():.3f}")

    # What the layer puts out answers any question about the tags of a sentence.
    text = "on 5 may april left".split()
    outputs = model(word_ids(tf.constant([text])))
    potentials = layers.unpack(outputs)
    tags, probabilities = potentials.decode()[0], potentials.marginals()[0]
    print("\nword       tag        probability")
    for word, tag, row in zip(text, tags, probabilities, strict=True):
        print(f"{word:10s} {TAGS[tag]:10s} {row[tag]:.4f}")

    k_tags, k_potentials = potentials.k_best(3)
    print("\nThe three best taggings:")
    shares = tf.exp(k_potentials - potentials.log_partition()[:, None])
    for tags, share in zip(k_tags[0], shares[0], strict=True):
        print(f"{share:.4f}  {' '.join(TAGS[tag] for tag in tags)}")
    (share,) = crf.span_probability(outputs, rows=[0], starts=[1], ends=[3], labels="DATE")
    print(f"\nProbability that '5 may' is a date: {share:.4f}")


if __name__ == "__main__":
    main()
