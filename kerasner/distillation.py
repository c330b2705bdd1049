"""Makes a data set out of what trained taggers hold probable: python -m kerasner.distillation.

    python -m kerasner.distillation distilled TEACHER... --data conll2003 [--text TEXT...]

A teacher is a trained tagger, by its name or folder. `distilled` is a data set in the format of
CoNLL-2003, and training on it is training as ever. Its train.txt holds the sentences of the part
train twice, with the tags they have and with tags of the teachers, and sentences of raw text with
tags of the teachers; valid.txt and test.txt are those of the data. A student that learns from it
comes to know what several teachers, averaged, know, and is as small and fast as one of them.

Tags of teachers are not their best ones: of each sentence one teacher, drawn at random, gives a
tagging that is drawn with the probability it has for that teacher. So the student learns in the
long run the average of their distributions, doubts included.

Texts are those of `python -m kerasner.pretraining`.

References:
    Hinton, Vinyals, Dean (2015): Distilling the knowledge in a neural network.
    Kim, Rush (2016): Sequence-level knowledge distillation.
    Wang et al. (2020): Structure-level knowledge distillation for multilingual sequence labeling.
"""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasner import _commands, bio, storage
from kerasner.config import check_number, user_path
from kerasner.data.conll import Conll2003Reader, Sample, write_conll
from kerasner.data.text import read_texts
from kerasner.errors import ConfigError, DataError
from kerasner.layers import unpack
from kerasner.pretrained import pretrained
from kerasner.schemes import entity_rules
from kerasner.tagger import Tagger

_LOG = logging.getLogger(__name__)
_BATCH = 256  # sentences
_MAX_TOKENS = 150  # longer sentences of raw text are lists and tables

Sentence = Sequence[str]


class Teachers:
    """Trained taggers that give sentences probable tags.

    Args:
        taggers: of the same labels; their networks and tagging schemes may differ. Sentences are
            the only input.

    Attributes:
        taggers: the same.
        labels: theirs, sorted.

    Raises:
        ConfigError: taggers of different labels, or with further inputs.

    Example:

    ```python
    teachers = Teachers([Tagger.load("seed1"), Tagger.load("seed2")])
    tags = teachers.draw([["Riemann", "lived", "in", "Göttingen"]], np.random.default_rng(1))
    ```
    """

    def __init__(self, taggers: Sequence[Tagger]):
        self.taggers = list(taggers)
        labels = [entity_rules(t.tags, t.model.scheme).labels for t in taggers]
        self.labels = labels[0]
        for found in labels:
            if found != self.labels:
                raise ConfigError(f"teachers of different labels: {self.labels} and {found}")
        for tagger in taggers:
            if len(tagger.chainer.inputs) > 1:
                raise ConfigError(f"a teacher takes {tagger.chainer.inputs}: expected tokens alone")
        self._draws = [_drawing(tagger) for tagger in taggers]

    def draw(self, sentences: Sequence[Sentence], rng: np.random.Generator) -> list[list[str]]:
        """Tags of each sentence in BIO, each from a teacher drawn at random."""
        teacher_of = rng.integers(len(self.taggers), size=len(sentences))
        lengths = np.array([len(sentence) for sentence in sentences])
        drawn: list[list[str]] = [[] for _ in sentences]
        for number, (tagger, draw) in enumerate(zip(self.taggers, self._draws, strict=True)):
            given = np.flatnonzero(teacher_of == number)
            given = given[np.argsort(lengths[given], kind="stable")]
            for start in range(0, len(given), _BATCH):
                batch = given[start : start + _BATCH]
                seed = rng.integers(np.iinfo(np.int32).max, size=2, dtype=np.int32)
                rows = tf.ragged.constant([sentences[i] for i in batch], tf.string, ragged_rank=1)
                for i, row in zip(batch, draw(rows, seed).numpy(), strict=True):
                    names = [tagger.tags[tag] for tag in row[: lengths[i]]]
                    # Without constraints an I- may be drawn that continues nothing.
                    drawn[i] = bio.iob1_to_bio(*bio.in_bio([names], tagger.model.scheme))
        return drawn


def _drawing(tagger: Tagger) -> Callable[[tf.RaggedTensor, np.ndarray], tf.Tensor]:
    """Tokens [B, (T)] and a seed -> ids of drawn tags, int32 [B, T]."""

    def draw(tokens, seed):
        inputs = {
            name: tokens.with_values(values).to_tensor()
            for name, values in tagger.chainer.encode(tokens.values).items()
        }
        potentials = unpack(tagger.model(inputs, training=False))
        return potentials.tempered(tagger.model.temperature).sample(seed)

    return tf.function(
        draw,
        input_signature=[
            tf.RaggedTensorSpec([None, None], tf.string, ragged_rank=1),
            tf.TensorSpec([2], tf.int32),
        ],
    )


def distil(
    folder: Path,
    teachers: Teachers,
    data: Mapping[str, Sequence[Sample]],
    texts: Sequence[str | Path] = (),
    draws: int = 1,
    seed: int = 1,
) -> dict[str, int]:
    """Writes a data set for students.

    Args:
        folder: of the data set; not there yet, or empty.
        teachers: what the tags come from.
        data: tokens and BIO tags of the sentences of "train", "valid" and "test".
        texts: files of raw text, which the first teacher's splitter cuts into sentences, or folders
            of tagged sentences whose tags do not count. Sentences of more than 150 tokens are left
            out.
        draws: how many times each sentence comes with tags of the teachers.
        seed: of all that is drawn.

    Returns:
        How many sentences it holds: "own" of the part train with their tags, "drawn" with tags of
        the teachers, "text" of raw text with tags of the teachers.

    Raises:
        ConfigError: something is in the folder, or the data have labels that teachers lack.
        DataError: there are no sentences.
    """
    check_number("draws", draws, 1, whole=True)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds something; expected a new folder")
    storage.check_writable(folder)
    known = {f"{prefix}-{label}" for prefix in "BI" for label in teachers.labels}
    unknown = {tag for _, tags in data["train"] for tag in tags} - known - {"O"}
    if unknown:
        raise ConfigError(f"the data have {min(unknown)}; the teachers know {teachers.labels}")
    sentences = [tokens for tokens, _ in data["train"]] * draws
    splitter = teachers.taggers[0].chainer.text_splitter
    raw = [[token.decode() for token in tokens] for tokens in read_texts(texts, splitter)]
    raw = [tokens for tokens in raw if 0 < len(tokens) <= _MAX_TOKENS] * draws
    if not sentences and not raw:
        raise DataError("no sentences: expected a part train, or texts")
    _LOG.info("drawing tags of %d sentences and %d of raw text", len(sentences), len(raw))
    drawn = [*sentences, *raw]
    tags = teachers.draw(drawn, np.random.default_rng(seed))
    with storage.replacing_folder(folder) as beside:
        write_conll(beside / "train.txt", [*data["train"], *zip(drawn, tags, strict=True)])
        for part in ("valid", "test"):
            if data[part]:
                write_conll(beside / f"{part}.txt", data[part])
    return {"own": len(data["train"]), "drawn": len(sentences), "text": len(raw)}


def _tagger(name: str) -> Tagger:
    """Of a folder, or of a name."""
    folder = user_path(name)
    return Tagger.load(folder) if (folder / storage.CONFIG_FILE).is_file() else pretrained(name)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("kerasner.distillation", description=__doc__.split(":")[0])
    parser.add_argument("folder", type=Path, help="where the data set is written")
    parser.add_argument("teachers", nargs="+", help="trained taggers: their names or folders")
    parser.add_argument("--data", required=True, help="folder in CoNLL-2003's format")
    parser.add_argument("--unescape", action="store_true", help="-LRB- becomes (, for OntoNotes")
    parser.add_argument("--text", nargs="+", default=[], help="files of raw text, or such folders")
    parser.add_argument("--draws", type=int, default=1, help="tags of teachers for each sentence")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    return _commands.exit_code(
        lambda: distil(
            options.folder.absolute(),
            Teachers([_tagger(teacher) for teacher in options.teachers]),
            Conll2003Reader().read(options.data, unescape=options.unescape),
            options.text,
            options.draws,
            options.seed,
        )
    )


if __name__ == "__main__":
    _commands.run(main)
