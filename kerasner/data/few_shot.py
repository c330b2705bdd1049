"""Learning from a few sentences, simulated with a data set that has many."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from kerasner.bio import split_prefix
from kerasner.config import check_flag, check_number
from kerasner.data.iterator import DataLearningIterator
from kerasner.errors import ConfigError, nearest
from kerasner.registry import register


@register("ner_few_shot_iterator")
class NerFewShotIterator(DataLearningIterator):
    """Keeps of the train part what one would have annotated to find a few examples.

    Sentences of the train part are drawn one after another until `n_train_samples` of them hold
    an entity of type `target_tag`. All drawn ones, those without the entity too, become the train
    part. The parts valid and test stay whole. The draw depends on `seed` alone.

    Args:
        data: the samples of `train`, `valid` and `test`, each an (input, BIO tags) pair.
        target_tag: type of the entities that are to be learnt, such as `PER`.
        n_train_samples: sentences with such an entity to be drawn.
        filter_bi: whether tags lose their prefix in all parts, `B-PER` and `I-PER` become `PER`.
            `ner_bio_converter` gives it back.
        remove_not_targets: whether entities of other types are not tagged, in all parts.
        seed: of the draw and of the order in which `batches` deals; None for a new one each time.
        shuffle: whether `batches` deals the samples in a random order, a new one at each call.

    Example:

    ```python
    data = Conll2003Reader().read("conll2003")
    tokens, tags = NerFewShotIterator(data, "PER", n_train_samples=10, seed=1).instances("train")
    ```
    """

    def __init__(
        self,
        data: Mapping[str, Sequence[tuple[Any, Sequence[str]]]],
        target_tag: str,
        n_train_samples: int = 20,
        filter_bi: bool = True,
        remove_not_targets: bool = True,
        seed: int | None = None,
        shuffle: bool = True,
    ):
        if not isinstance(target_tag, str):
            raise ConfigError(
                f"target_tag: expected a type of entity such as PER, received {target_tag!r:.200}"
            )
        check_number("n_train_samples", n_train_samples, 1, whole=True)
        check_flag("filter_bi", filter_bi)
        check_flag("remove_not_targets", remove_not_targets)
        super().__init__(data, seed, shuffle)
        self._parts["train"] = _draw(self._parts["train"], target_tag, n_train_samples, seed)

        def changed(tag: str) -> str:
            _, label = split_prefix(tag)
            if remove_not_targets and label != target_tag:
                return "O"
            return label if filter_bi and label else tag

        for part, samples in self._parts.items():
            self._parts[part] = [
                (inputs, [changed(tag) for tag in tags]) for inputs, tags in samples
            ]


def _draw(
    samples: list[tuple[Any, Sequence[str]]], target: str, count: int, seed: int | None
) -> list[tuple[Any, Sequence[str]]]:
    """Samples in random order up to the one that is the `count`-th to hold the target."""
    drawn, found, labels = [], 0, set()
    for sample in random.Random(seed).sample(samples, len(samples)):
        in_sample = {split_prefix(tag)[1] for tag in sample[1]}
        labels |= in_sample
        drawn.append(sample)
        found += target in in_sample
        if found == count:
            return drawn
    if not found:
        known = sorted(labels - {""})
        raise ConfigError(
            f"target_tag: no sentence of the train part ({len(samples)} sentences) holds "
            f"{target!r}: {nearest(target, known) if known else 'there is no entity in it'}"
        )
    raise ConfigError(
        f"n_train_samples: {found} of the {len(samples)} sentences of the train part hold "
        f"{target!r}; expected at most {found}, received {count}"
    )
