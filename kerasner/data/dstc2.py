"""The dialogues of the second Dialog State Tracking Challenge (DSTC2), and tags for their slots."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from kerasner import bio
from kerasner.config import check_number, find_file
from kerasner.data._input import PARTS, data_folder, read_json, read_text
from kerasner.data.iterator import DataLearningIterator
from kerasner.data.mentions import with_other_mentions
from kerasner.errors import ConfigError, DataError, nearest
from kerasner.registry import register

Slots = list[tuple[str, str]]
"""Name and value of each slot that is spoken of."""
Forms = dict[str, dict[str, list[list[str]]]]
"""The tokens of all ways to say a value, by slot and value."""

LISTS = {"train": "dstc2_train.flist", "valid": "dstc2_dev.flist", "test": "dstc2_test.flist"}
SLOT_VALUES = "dstc_slot_vals.json"


@register("dstc2_reader")
class Dstc2Reader:
    """Reads what the users say in the dialogues of DSTC2's original release.

    A list names a dialogue a line, such as `Mar13_S0A0/voip-00d76b791d-20130327_010416`, which is
    a folder with a file `label.json`. The release may lie in `data_path` as it is unpacked (lists
    in `scripts/config`, dialogues in `data`) or without these folders.

    Example:

    ```python
    data = Dstc2Reader().read("dstc2")
    data["train"][0]  # ("cheap restaurant", [("pricerange", "cheap")])
    ```

    References:
        [The Second Dialog State Tracking Challenge](https://aclanthology.org/W14-4337)
    """

    def read(
        self, data_path: str | PathLike[str], lists: Mapping[str, str] | None = None
    ) -> dict[str, list[tuple[str, Slots]]]:
        """Reads all parts.

        Args:
            data_path: the folder; a leading `~` is the home folder. A relative one is looked for
                in the working folder, then in the folder of downloads.
            lists: file name of each part's list, in `data_path`; None: the release's own,
                `dstc2_train.flist`, `dstc2_dev.flist` (valid) and `dstc2_test.flist`, of which
                only the first must be there. A part without a list is empty.

        Returns:
            For `train`, `valid` and `test` a (text, slots) pair for each time that the user
            speaks, in the order of the list.
        """
        chosen = LISTS if lists is None else lists
        _check_lists(chosen)
        expected = f"expected a folder with DSTC2's dialogues and {', '.join(chosen.values())}"
        folder = data_folder(data_path, expected)
        data: dict[str, list[tuple[str, Slots]]] = {part: [] for part in PARTS}
        for part, name in chosen.items():
            file = _find(folder, "scripts/config", name)
            if file:
                data[part] = _read_list(folder, file)
            elif lists is not None or part == "train":
                raise DataError(f"data folder {folder} has no {name}: {expected}")
        return data


@register("dstc2_ner_iterator")
class Dstc2NerIterator(DataLearningIterator):
    """Tokens and BIO tags from what users say and the slots that they speak of.

    Tokens are what white space separates. Where one of the ways to say a slot's value stands in
    the text (the file of slot values lists them; a value that it lacks is said as it is written),
    its tokens are tagged with the slot's name. Slots that are not in the file have no tags, and
    texts without a token are dropped, as is a text that its part has already with the same slots.

    Args:
        data: (text, slots) pairs of `train`, `valid` and `test`, as `Dstc2Reader` gives them.
        dataset_path: the folder of `dstc_slot_vals.json`, or another such file; looked for as a
            reader's `data_path`. It maps slot to value to a list of ways to say it.
        seed: of the order in which `batches` deals, None for a new one each time; and of the
            samples that `least_mentions` draws, 0 where it is None.
        shuffle: whether `batches` deals the samples in a random order, a new one at each call.
        alignment: `longest` tags from left to right, the longest of what can start at a token
            first, and nothing twice. `legacy` tags as DeepPavlov did: at each token, for each
            slot, the way that is listed first, over what is tagged already. Parts of entities
            become entities, and an entity's rest may be left without its start.
        least_mentions: times that the part `train` is to have each way to say a value. Where it has
            fewer, the way takes the place of another of its slot in drawn samples, which are added
            (see `kerasner.data.with_other_mentions`), tagged as a whole whatever the alignment. So
            values are learnt that nobody asks for in training.

    Example:

    ```python
    iterator = Dstc2NerIterator(Dstc2Reader().read("dstc2"), "dstc2")
    tokens, tags = iterator.instances("train")
    tokens[0], tags[0]  # ["moderate", "food", ...], ["B-pricerange", "O", ...]
    ```
    """

    def __init__(
        self,
        data: Mapping[str, Sequence[tuple[str, Slots]]],
        dataset_path: str | PathLike[str],
        seed: int | None = None,
        shuffle: bool = False,
        alignment: str = "longest",
        least_mentions: int = 0,
    ):
        if alignment not in ("longest", "legacy"):
            raise ConfigError(
                f"alignment: expected 'longest' or 'legacy', received {alignment!r:.200}"
            )
        check_number("least_mentions", least_mentions, 0, whole=True)
        super().__init__(data, seed, shuffle)
        align = _align_longest if alignment == "longest" else _align_legacy
        forms = _slot_forms(dataset_path)
        for part, samples in self._parts.items():
            turns = (_known_slots(sample, forms) for sample in samples)
            # A dict keeps the first of equal turns.
            distinct = dict.fromkeys((text, slots) for text, slots in turns if text.split())
            self._parts[part] = [
                (text.split(), align(text.split(), _ways(slots, forms))) for text, slots in distinct
            ]
        every_way = {
            slot: [way for ways in values.values() for way in ways]
            for slot, values in forms.items()
        }
        train = self._parts["train"]
        train += with_other_mentions(train, every_way, least_mentions, seed or 0)


def _check_lists(lists: Mapping[str, str]) -> None:
    if not isinstance(lists, Mapping) or not all(isinstance(n, str) for n in lists.values()):
        raise ConfigError(
            f"lists: expected a file name for each of {', '.join(PARTS)}, received {lists!r:.200}"
        )
    for part in lists:
        if part not in PARTS:
            raise ConfigError(f"lists: unknown part {part!r}: {nearest(part, PARTS)}")
    if "train" not in lists:
        raise ConfigError(f"lists: expected a file name for train too, received {lists!r:.200}")


def _find(folder: Path, subfolder: str, name: str) -> Path | None:
    places = (folder / name, folder / subfolder / name)
    return next((place for place in places if place.exists()), None)


def _read_list(folder: Path, file: Path) -> list[tuple[str, Slots]]:
    turns = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if name := line.strip():
            label = _find(folder, "data", f"{name}/label.json")
            if not label:
                raise DataError(
                    f"{file}:{number}: expected the folder of a dialogue with label.json in "
                    f"{folder}, received {name[:200]!r}"
                )
            turns += _read_dialogue(label)
    if not turns:
        raise DataError(f"{file} names no dialogue: expected the folder of one in each line")
    return turns


def _read_dialogue(path: Path) -> list[tuple[str, Slots]]:
    dialogue = read_json(path)
    turns = dialogue.get("turns") if isinstance(dialogue, dict) else None
    if not isinstance(turns, list):
        raise DataError(f"{path}: expected an object with a list turns, received {dialogue!r:.200}")
    return [_read_turn(turn, f"{path}, turn {index}") for index, turn in enumerate(turns)]


def _read_turn(turn: Any, where: str) -> tuple[str, Slots]:
    try:
        text = turn["transcription"]
        acts = turn["semantics"]["json"]
        slots = [(name, value) for act in acts for name, value in act["slots"]]
        strings = [text, *(item for slot in slots for item in slot)]
    except (KeyError, TypeError, ValueError):
        strings = [None]
    if not all(isinstance(item, str) for item in strings):
        raise DataError(
            f"{where}: expected a transcription and semantics.json with acts and their slots, "
            f"received {turn!r:.200}"
        )
    return text, slots


def _slot_forms(dataset_path: str | PathLike[str]) -> Forms:
    path = find_file(dataset_path, "dataset_path")
    if path.is_dir():
        path /= SLOT_VALUES
    content = read_json(path)
    try:
        return {
            slot: {value: _split_ways(ways) for value, ways in values.items()}
            for slot, values in content.items()
        }
    except (AttributeError, TypeError):
        raise DataError(
            f"{path}: expected an object slot -> value -> list of ways to say it, as in "
            f'{{"price": {{"cheap": ["cheap", "low priced"]}}}}, received {content!r:.200}'
        ) from None


def _split_ways(ways: Any) -> list[list[str]]:
    tokens = [way.split() for way in ways]
    if not isinstance(ways, list) or not all(tokens):
        raise TypeError
    return tokens


def _known_slots(sample: Any, forms: Forms) -> tuple[str, tuple[tuple[str, str], ...]]:
    try:
        text, slots = sample
        known = tuple((slot, value) for slot, value in slots if slot in forms)
    except (TypeError, ValueError):
        text, known = None, ()
    if not isinstance(text, str):
        raise DataError(
            "dstc2_ner_iterator: expected (text, slots) pairs, as dstc2_reader gives them; "
            f"received {sample!r:.200}"
        )
    return text, known


def _ways(slots: Sequence[tuple[str, str]], forms: Forms) -> list[tuple[str, list[list[str]]]]:
    """The tokens of all ways to say its value, for each slot."""
    return [(slot, forms[slot].get(value, [value.split()])) for slot, value in slots]


def _align_longest(tokens: list[str], slots: list[tuple[str, list[list[str]]]]) -> list[str]:
    tags: list[str] = []
    while len(tags) < len(tokens):
        said = [
            bio.entity_tags(slot, len(way))
            for slot, ways in slots
            for way in ways
            if _stands_at(tokens, len(tags), way)
        ]
        tags += max(said, key=len, default=[]) or ["O"]
    return tags


def _align_legacy(tokens: list[str], slots: list[tuple[str, list[list[str]]]]) -> list[str]:
    tags = ["O"] * len(tokens)
    for start in range(len(tokens)):
        for slot, ways in slots:
            length = next((len(way) for way in ways if _stands_at(tokens, start, way)), 0)
            tags[start : start + length] = bio.entity_tags(slot, length)
    return tags


def _stands_at(tokens: list[str], start: int, way: list[str]) -> bool:
    return tokens[start : start + len(way)] == way
