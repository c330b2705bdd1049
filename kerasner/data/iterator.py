"""The parts of a data set, whole or in batches."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kerasner.config import check_flag
from kerasner.data._input import PARTS
from kerasner.errors import ConfigError, nearest
from kerasner.registry import register

Pairs = tuple[list[Any], list[Any]]
"""The inputs of some samples and their targets."""


@register("data_learning_iterator")
class DataLearningIterator:
    """Holds the parts of a data set and deals out their samples.

    `kerasner.train_model` takes whole parts, and draws its batches itself by the seed of the group
    "train": `seed` and `shuffle` matter to `batches` alone.

    Args:
        data: the samples of `train`, `valid` and `test`, each an (input, target) pair; a part
            that is left out is empty.
        seed: of the order in which `batches` deals; None for a new one each time.
        shuffle: whether `batches` deals the samples in a random order, a new one at each call.

    Example:

    ```python
    iterator = DataLearningIterator(Conll2003Reader().read("conll2003"), seed=42)
    tokens, tags = iterator.instances("valid")
    for tokens, tags in iterator.batches("train", batch_size=64):
        ...
    ```
    """

    def __init__(
        self,
        data: Mapping[str, Sequence[tuple[Any, Any]]],
        seed: int | None = None,
        shuffle: bool = True,
    ):
        if not isinstance(data, Mapping):
            raise ConfigError(
                f"data: expected the samples of {', '.join(PARTS)} by part, received {data!r:.200}"
            )
        for name in data:
            if name not in PARTS:
                raise ConfigError(f"unknown part {name!r} of a data set: {nearest(name, PARTS)}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ConfigError(f"seed: expected a whole number or null, received {seed!r:.200}")
        check_flag("shuffle", shuffle)
        self._parts = {part: list(data.get(part, ())) for part in PARTS}
        self._random = random.Random(seed)
        self._shuffle = shuffle

    def instances(self, part: str) -> Pairs:
        """All samples of a part, in the order of the data.

        Args:
            part: `train`, `valid`, `test` or `all`.

        Returns:
            Their inputs and their targets.
        """
        return _unzip(self._samples(part))

    def batches(self, part: str, batch_size: int) -> Iterator[Pairs]:
        """Every sample of a part once, a batch at a time; the last batch may be short.

        Args:
            part: `train`, `valid`, `test` or `all`.
            batch_size: samples a batch; negative for one batch of all.

        Returns:
            An iterator over the inputs and the targets of each batch.
        """
        samples = self._samples(part)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size == 0:
            raise ConfigError(
                "batch_size: expected a positive whole number, or a negative one for one batch of "
                f"all; received {batch_size!r:.200}"
            )
        if self._shuffle:
            samples = self._random.sample(samples, len(samples))
        step = batch_size if batch_size > 0 else max(len(samples), 1)
        return (_unzip(samples[i : i + step]) for i in range(0, len(samples), step))

    def _samples(self, part: str) -> list[tuple[Any, Any]]:
        parts = self._parts
        if part == "all":
            return parts["train"] + parts["test"] + parts["valid"]
        if part not in parts:
            raise ConfigError(
                f"unknown part {part!r} of a data set: {nearest(part, [*parts, 'all'])}"
            )
        return parts[part]


def _unzip(samples: Sequence[tuple[Any, Any]]) -> Pairs:
    return [x for x, _ in samples], [y for _, y in samples]
