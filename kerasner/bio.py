"""BIO tags: checking, converting, the entities they spell, and the scores of predicted tags.

`B-TYPE` starts an entity, `I-TYPE` continues it, `O` is outside of all. Entities are counted as
conlleval counts them, so an `I-TYPE` that continues nothing starts an entity of its own; unlike
DeepPavlov's `ner_f1`, none reaches over the end of a sentence.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kerasner.errors import DataError
from kerasner.registry import register
from kerasner.schemes import scheme_of, split_tag

Tags = Sequence[str]


@lru_cache(maxsize=4096)
def split_prefix(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; the type of `O` is empty. A `DataError` if it is not BIO."""
    try:
        return split_tag(tag, "bio")
    except ValueError:
        raise DataError(
            f"tag {tag!r} is not BIO: expected O, B-TYPE or I-TYPE, such as B-PER"
        ) from None


def validate_tag(tag: str) -> None:
    """Raises a `DataError` unless the tag is `O`, `B-TYPE` or `I-TYPE` with any non-empty TYPE."""
    split_prefix(tag)


def iob1_to_bio(tags: Tags) -> list[str]:
    """Makes every entity of a sentence start with `B-`.

    In IOB1 an entity starts with `I-`, and with `B-` only where it follows another one of its
    type. Legal BIO tags come back unchanged, and so do the entities in any case.

    Args:
        tags: the IOB1 or BIO tags of one sentence.

    Returns:
        The BIO tags.

    Example:

    ```python
    iob1_to_bio(["I-PER", "I-PER", "B-PER", "O"])  # ["B-PER", "I-PER", "B-PER", "O"]
    ```
    """
    bio = []
    previous = ""
    for tag in tags:
        prefix, label = split_prefix(tag)
        bio.append(f"B-{label}" if prefix == "I" and label != previous else tag)
        previous = label
    return bio


def in_bio(rows: Sequence[Tags], scheme: str | None = None) -> list[list[str]]:
    """The same entities in BIO.

    BIO tags come back as they are, an `I-` that continues nothing included. In BIOES an entity
    starts at a tag that does not continue the one before.

    Args:
        rows: the tags of sentences, all of one scheme: BIO, BIOES or tags without prefixes, of
            which each run is an entity.
        scheme: "bio", "bioes" or "io"; None: what all of the tags belong to.

    Raises:
        DataError: tags with and without prefixes are mixed.

    Example:

    ```python
    in_bio([["PER", "PER", "LOC", "O"]])  # [["B-PER", "I-PER", "B-LOC", "O"]]
    in_bio([["S-PER", "O", "B-LOC", "E-LOC"]])  # [["B-PER", "O", "B-LOC", "I-LOC"]]
    ```
    """
    try:
        scheme = scheme or scheme_of(tag for tags in rows for tag in tags)
    except ValueError as error:
        raise DataError(str(error)) from None
    if scheme == "bio":
        return [list(tags) for tags in rows]
    return [_converted(tags, scheme) for tags in rows]


def in_bioes(tags: Tags) -> list[str]:
    """The same entities in BIOES: their last tag is `E-`, the only one of a single token `S-`.

    Args:
        tags: of a sentence, in BIO.

    Example: `in_bioes(["B-PER", "O", "B-LOC", "I-LOC"])  # ["S-PER", "O", "B-LOC", "E-LOC"]`

    References:
        Ratinov, Roth (2009): Design challenges and misconceptions in named entity recognition.
    """
    bioes = list(tags)
    for label, start, end in entities(tags):
        bioes[start] = f"B-{label}"
        bioes[end - 1] = f"S-{label}" if end == start + 1 else f"E-{label}"
    return bioes


def _converted(tags: Tags, scheme: str) -> list[str]:
    bio = []
    before = ("O", "")
    for prefix, label in (split_tag(tag, scheme) for tag in tags):
        goes_on = label == before[1] and before[0] in "BI" and prefix in "IE"
        bio.append(f"{'I' if goes_on else 'B'}-{label}" if label else "O")
        before = prefix, label
    return bio


def entity_tags(label: str, length: int) -> list[str]:
    """The tags of an entity of so many tokens."""
    return [f"B-{label}", *[f"I-{label}"] * (length - 1)][:length]


def entities(tags: Tags) -> list[tuple[str, int, int]]:
    """The entities of a sentence.

    An entity of type T starts at `B-T`, or at `I-T` after a tag that is not of type T, and
    reaches over all `I-T` that follow.

    Args:
        tags: the tags of one sentence.

    Returns:
        `(label, start, end)` of every entity from left to right, in tokens, `end` exclusive.

    Example:

    ```python
    entities(["B-PER", "I-PER", "O", "I-LOC"])  # [("PER", 0, 2), ("LOC", 3, 4)]
    ```
    """
    bio = [split_prefix(tag) for tag in iob1_to_bio(tags)]
    found = []
    for start, (prefix, label) in enumerate(bio):
        if prefix == "B":
            end = start + 1
            while end < len(bio) and bio[end][0] == "I":
                end += 1
            found.append((label, start, end))
    return found


@dataclass(frozen=True)
class Score:
    """Counts of entities, and the percentages that follow from them (0 where undefined).

    Args:
        gold: entities that should be found.
        predicted: entities that were found.
        correct: entities found with exactly the right borders and type.
    """

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        return 100.0 * self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return 100.0 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        either = self.gold + self.predicted
        return 200.0 * self.correct / either if either else 0.0


@dataclass(frozen=True)
class Report:
    """The scores of a tagged data set; `str()` gives DeepPavlov's (and conlleval's) layout.

    Args:
        tokens: number of tokens.
        total: score over all entities, whatever their type (so its percentages are micro
            averages).
        types: score of each type, types sorted.
    """

    tokens: int
    total: Score
    types: dict[str, Score]

    def __str__(self) -> str:
        total = self.total
        parts = [
            f"processed {self.tokens} tokens with {total.gold} phrases; "
            f"found: {total.predicted} phrases; correct: {total.correct}.",
            f"precision:  {total.precision:.2f}%; recall:  {total.recall:.2f}%; "
            f"FB1:  {total.f1:.2f}",
        ]
        parts += [
            f"\t{label}: precision:  {score.precision:.2f}%; recall:  {score.recall:.2f}%; "
            f"F1:  {score.f1:.2f} {score.predicted}"
            for label, score in self.types.items()
        ]
        return "\n\n".join(parts)


def report(gold: Sequence[Tags], predicted: Sequence[Tags]) -> Report:
    """Scores predicted tags against the right ones, entity by entity.

    Args:
        gold: the right tags, a sequence a sentence.
        predicted: the predicted tags of the same sentences.

    Returns:
        The total and the score of every type that occurs on either side.

    Example:

    ```python
    result = report([["B-PER", "O", "B-LOC"]], [["B-PER", "O", "O"]])
    result.total.precision, result.total.recall  # (100.0, 50.0)
    print(result)
    ```

    References:
        [CoNLL-2000's conlleval](https://www.cnts.ua.ac.be/conll2000/chunking/output.html)
    """
    _check_lengths(gold, predicted)
    names = ("gold", "predicted", "correct")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for right, guess in zip(gold, predicted, strict=True):
        expected, found = set(entities(right)), set(entities(guess))
        for name, spans in zip(names, (expected, found, expected & found), strict=True):
            counts[name].update(label for label, _, _ in spans)
    return Report(
        tokens=sum(map(len, gold)),
        total=Score(**{name: count.total() for name, count in counts.items()}),
        types={
            label: Score(**{name: count[label] for name, count in counts.items()})
            for label in sorted(counts["gold"] | counts["predicted"])
        },
    )


@register("ner_f1")
def ner_f1(y_true: Sequence[Tags], y_pred: Sequence[Tags]) -> float:
    """Micro-averaged F1 of all entities in percent, counted as conlleval does (see `report`).

    Args:
        y_true: the right BIO tags, a sequence a sentence.
        y_pred: the predicted tags of the same sentences.

    Returns:
        0 to 100; 0 if there is no entity on either side.

    Example:

    ```python
    ner_f1([["B-PER", "O", "B-LOC"]], [["B-PER", "O", "O"]])  # 66.67
    ```
    """
    return report(y_true, y_pred).total.f1


@register("per_token_accuracy")
def per_token_accuracy(y_true: Sequence[Sequence[str]], y_pred: Sequence[Sequence[str]]) -> float:
    """Share of the tokens, those outside of entities too, whose tag is right.

    Args:
        y_true: the right tags, of any scheme, a sequence a sentence.
        y_pred: the predicted tags of the same sentences.

    Returns:
        0 to 1; 0 if there is no token.

    Example:

    ```python
    per_token_accuracy([["B-PER", "O"], ["O"]], [["B-PER", "O"], ["B-LOC"]])  # 0.6667
    ```
    """
    _check_lengths(y_true, y_pred)
    right = sum(
        tag == guess
        for tags, guesses in zip(y_true, y_pred, strict=True)
        for tag, guess in zip(tags, guesses, strict=True)
    )
    return right / max(sum(map(len, y_true)), 1)


def _check_lengths(gold: Sequence[Tags], predicted: Sequence[Tags]) -> None:
    if len(gold) != len(predicted):
        raise ValueError(
            f"expected as many predicted as gold sentences, received {len(predicted)} for "
            f"{len(gold)}"
        )
    for index, (right, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(right) != len(guess):
            raise ValueError(
                f"expected a predicted tag for every gold tag, received {len(guess)} for "
                f"{len(right)} in sentence {index}"
            )
