"""What a user holds: a trained tagger of texts."""

import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasner import answers, bio, storage
from kerasner.answers import Entity
from kerasner.chainer import Chainer
from kerasner.data.pipeline import columns
from kerasner.network import TaggingNetwork
from kerasner.tagging import TaggingGraph

BATCH_SIZE = 1024  # texts a call of the graph; the graph itself cuts the work into chunks


class Tagger:
    """Tags texts and token lists; made by `kerasner.pretrained`, `train_model` or `load`.

    Args:
        chainer: a fitted pipeline.
        config: its resolved configuration, saved with it.

    Attributes:
        chainer, config: the same.

    Example:

    ```python
    ner = kerasner.pretrained("ner_conll2003")
    tokens, tags = ner(["Bernhard Riemann lived in Göttingen"])
    for entity in ner.entities(["Bernhard Riemann lived in Göttingen"])[0]:
        print(entity.text, entity.label, entity.start, entity.end, entity.score)
    ```
    """

    def __init__(self, chainer: Chainer, config: dict[str, Any]):
        self.chainer = chainer
        self.config = config

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Tagger":
        """Reads a model that `save` or training wrote.

        Raises:
            kerasner.errors.ArchiveError: the folder holds no model, or a damaged one.
        """
        return cls._read(Path(folder), storage.CONFIG_FILE)

    @classmethod
    def load_start(cls, folder: str | os.PathLike) -> "Tagger":
        """Reads what `save_start` wrote.

        Raises:
            kerasner.errors.ArchiveError: the folder holds no start, or a damaged one.
        """
        return cls._read(Path(folder), storage.START_FILE)

    @classmethod
    def _read(cls, folder: Path, config_file: str) -> "Tagger":
        config = storage.read_config(folder, config_file)["config"]
        tagger = cls(Chainer(config["chainer"], folder=folder), config)
        weights = folder / storage.WEIGHTS_FILE
        storage.assign_weights(tagger.model, storage.load_weights(weights), str(weights))
        return tagger

    @property
    def model(self) -> TaggingNetwork:
        """The Keras model: ids in, packed potentials out (see `NerNetwork`)."""
        return self.chainer.network

    @property
    def tags(self) -> list[str]:
        """Names of the tags in the order of their ids."""
        return self.model.tags

    @functools.cached_property
    def graph(self) -> TaggingGraph:
        """The functions that `export` saves."""
        chainer, splitter = self.chainer, self.chainer.text_splitter
        return TaggingGraph(
            self.model,
            chainer.encode,
            chainer.text_layers,
            splitter.tokenizer,
            splitter.sentence_splitter,
            chainer.inputs[1:],
        )

    def __call__(
        self, batch: Sequence[str] | Sequence[Sequence[str]], *further: Sequence[Sequence[str]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Tags a batch of texts, or of sentences given as token lists.

        Args:
            batch: texts, or lists of tokens.
            further: the other inputs of the configuration, such as parts of speech: of each
                sentence a list as long as its tokens. With them, texts are not taken.

        Returns:
            The tokens and their tags in BIO, a list a text each.
        """
        names = self.chainer.inputs
        sentences = answers.sentences(names, batch, further)
        if sentences is None:
            found = self._batches(self.graph.text, list(batch))
            tokens, tags = answers.gathered(found, ("tokens", "tags"), "lengths")
            return tokens, tags

        def tag(sentences):
            return self.graph.tokens(*map(_padded, columns(sentences, len(names))))

        (tags,) = answers.gathered(self._batches(tag, sentences), ("tags",), "lengths")
        return [list(row) for row in batch], tags

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, in their order."""
        answers.check_texts(self.chainer.inputs, texts)
        return answers.entities(self._batches(self.graph.entities, list(texts)))

    @staticmethod
    def _batches(function, items: list) -> Iterable[dict[str, np.ndarray]]:
        for start in range(0, len(items), BATCH_SIZE):
            chunk = items[start : start + BATCH_SIZE]
            if isinstance(chunk[0], str):
                chunk = tf.constant(answers.encoded(chunk))
            yield {name: value.numpy() for name, value in function(chunk).items()}

    def evaluate(self, samples: Sequence[tuple[Any, Sequence[str]]]) -> bio.Report:
        """Tags sentences and compares: (inputs, tags) pairs -> conlleval's counts and scores."""
        inputs = columns([sentence for sentence, _ in samples], len(self.chainer.inputs))
        gold = bio.in_bio([tags for _, tags in samples])
        return bio.report(gold, self(*inputs)[1])

    def export(self, path: str | os.PathLike, version: int | None = None) -> Path:
        """Writes a SavedModel of text to tags; see `kerasner.serving.export`."""
        from kerasner.serving.export import export  # serving builds on the tagger

        return export(self, path, version)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes configuration, vocabularies and weights, to be read by `load`.

        Raises:
            kerasner.errors.ConfigError: the folder cannot be written, or is no model's.
        """
        self._write(Path(folder).absolute(), storage.CONFIG_FILE)

    def save_start(self, folder: str | os.PathLike) -> None:
        """Writes the same of a network that knows no tags yet, for training to start from.

        Raises:
            kerasner.errors.ConfigError: the folder cannot be written, or is of something else.
        """
        self._write(Path(folder).absolute(), storage.START_FILE)

    def _write(self, place: Path, config_file: str) -> None:
        storage.check_replaceable(place, config_file)
        with storage.replacing_folder(place) as beside:
            content = {"format": storage.FORMAT, "config": self.config}
            storage.write_json(beside / config_file, content)
            self.chainer.save(beside)
            storage.save_weights(beside / storage.WEIGHTS_FILE, storage.layer_weights(self.model))


def _padded(rows: list[list[str]]) -> tf.Tensor:
    width = max((len(row) for row in rows), default=0)
    flat = answers.encoded([token for row in rows for token in row])
    values = tf.constant(flat, tf.string, shape=[len(flat)])
    lengths = tf.constant([len(row) for row in rows], tf.int64)
    return tf.RaggedTensor.from_row_lengths(values, lengths).to_tensor("", [len(rows), width])
