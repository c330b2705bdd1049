"""Further samples of entities that the training part lacks: other names put into its sentences."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kerasner import bio

Sample = tuple[list[str], list[str]]  # tokens and tags


def with_other_mentions(
    samples: Sequence[tuple[Sequence[str], Sequence[str]]],
    lists: Mapping[str, Iterable[Sequence[str]]],
    least: int,
    seed: int = 0,
) -> list[Sample]:
    """Puts entries of lists into samples that have an entity of the label.

    Args:
        samples: (tokens, BIO tags) pairs.
        lists: the entries, tokens each, by label; not used are empty ones, and those of a
            label that no sample has.
        least: entities that each entry is to have, those in the samples included.
        seed: of what is drawn.

    Returns:
        The further samples.

    Example: `with_other_mentions(train, {"LOC": [["New", "York"]]}, least=5)`

    References:
        Dai, Adel (2020): An analysis of simple data augmentation for named entity recognition.
    """
    drawn = random.Random(seed)
    places: dict[str, list[tuple[int, int, int]]] = {}
    known: Counter[tuple[str, ...]] = Counter()
    for number, (tokens, tags) in enumerate(samples):
        for label, start, end in bio.entities(tags):
            places.setdefault(label, []).append((number, start, end))
            known[(label, *tokens[start:end])] += 1
    further = []
    for label, entries in lists.items():
        if label not in places:
            continue
        for entry in dict.fromkeys(map(tuple, filter(None, entries))):
            mention = bio.entity_tags(label, len(entry))
            for _ in range(least - known[(label, *entry)]):
                number, start, end = drawn.choice(places[label])
                tokens, tags = samples[number]
                further.append(
                    (
                        [*tokens[:start], *entry, *tokens[end:]],
                        [*tags[:start], *mention, *tags[end:]],
                    )
                )
    return further
