"""Trains the language model of few-shot tagging on raw text: python -m kerasner.pretraining.

    python -m kerasner.pretraining lm_ru TEXT... --vectors navec.tar --language ru

Texts are UTF-8 files, plain or compressed (.gz, .xz, .bz2), a paragraph or sentence a line; or
folders of tagged sentences in the format of CoNLL-2003, whose tokens of train.txt are read. A
run that was stopped goes on when the command is given again.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner import _commands, storage, word_prediction
from kerasner.components import TextSplitter, language_model
from kerasner.components.language_model import LanguageModelText
from kerasner.config import check_number, find_file
from kerasner.data.text import Corpus
from kerasner.few_shot.language_model import LanguageModel
from kerasner.product_vectors import k_means
from kerasner.word_prediction import Settings

_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def pretrain(
    texts: Sequence[str | Path],
    save_path: Path,
    text: LanguageModelText,
    splitter: TextSplitter,
    settings: Settings,
    policy: str = "float32",
    **sizes: Any,
) -> dict[str, float]:
    """Trains a language model and writes it to a folder.

    Args:
        texts: files and folders, see above.
        save_path: folder of the model. Beside it lies the state of a run that was stopped.
        text: what makes ids of tokens, not fitted yet.
        splitter: from lines to sentences of tokens.
        settings: how.
        policy: of Keras, for the large products; "mixed_bfloat16" is faster where processors have
            instructions for it.
        **sizes: of `LanguageModel`.

    Returns:
        What was measured of the model as it is saved, see
        `kerasner.word_prediction.Learner.measured`.
    """
    word_prediction.check(texts, settings)
    for name, value in sizes.items():
        check_number(name, value, 1, whole=True)
    storage.check_writable(save_path.parent)
    storage.check_replaceable(save_path, f"{language_model.NAME}.json")
    rng = np.random.default_rng(settings.seed)
    found = word_prediction.read(texts, splitter, settings, rng)
    corpus = found.corpus
    text.fit(tf.constant(np.repeat(np.array(corpus.words, object), corpus.counts)))
    ids = text(tf.constant(corpus.words))
    keras.utils.set_random_seed(settings.seed)
    model = LanguageModel(text.embedder.embedding, text.n_endings, **sizes, dtype=policy)
    state = save_path.with_name(f"{save_path.name}.training")
    learner = _learner(model, ids, corpus, settings)
    word_prediction.fit(learner, found, settings, state, [repr(text.settings), sizes, policy])
    _set_statistics(model, learner, corpus, found.learnt[: 4 * settings.held_out], rng)
    with storage.replacing_folder(save_path) as beside:
        language_model.save(text, model, beside)
        # Measured as it is saved: with 8-bit weights.
        learner = _learner(language_model.load(beside)[1], ids, corpus, settings)
        measured = learner.measured(found, settings)
        storage.write_json(beside / "measured.json", measured)
    shutil.rmtree(state, ignore_errors=True)
    return measured


def _learner(
    model: LanguageModel, ids: tf.Tensor, corpus: Corpus, settings: Settings
) -> word_prediction.Learner:
    def vectors(numbers, training=False):
        return model.token_vectors(tf.gather(ids, numbers), training=training)

    model.build()
    return word_prediction.Learner(model, vectors, corpus.counts, settings)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _set_statistics(
    model: LanguageModel,
    learner: word_prediction.Learner,
    corpus: Corpus,
    sentences: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Sets means and clusters to those of sentences."""
    of_types, of_expectations = [], []
    for batch in corpus.batches(sentences, 4000, rng):
        is_token = batch >= 0
        of_expectations.append(learner.expected(batch).numpy()[is_token])
        of_types.append(model.types(learner.vectors(batch[is_token]))[0].numpy())
    points = []
    for name, values in (("mean_type", of_types), ("mean_expectation", of_expectations)):
        values = np.concatenate(values)
        mean = values.mean(axis=0)
        model.statistics[name].assign(mean)
        points.append(_unit(values - mean))
    found = k_means(_unit(sum(points)), model.settings["clusters"], rng)
    centroids = np.zeros(model.centroids.shape, np.float32)
    centroids[: len(found)] = _unit(found)
    model.centroids.assign(centroids)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("kerasner.pretraining", description=__doc__.split(":")[0])
    parser.add_argument("folder", type=Path, help="where the language model is written")
    _commands.add_texts(parser)
    _commands.add_splitter(parser)
    parser.add_argument("--vectors", required=True, help="file of word vectors")
    for flag, choices, meaning in (
        ("--format", ("navec", "glove", "fasttext"), "of --vectors"),
        ("--policy", _POLICIES, "of the large products"),
    ):
        _commands.add_option(parser, flag, choices[0], meaning, choices=choices)
    parser.add_argument("--keep", default="", help="characters whose diacritics stay, as in йЙ")
    for flag, default, meaning in (
        ("--own-words", 200, "how often a word that --vectors lacks occurs to have its own"),
        ("--units", 256, "of the LSTM of each direction"),
        ("--hidden", 256, "units of both dense networks"),
        ("--dim", 128, "width of types and expectations"),
    ):
        _commands.add_option(parser, flag, default, meaning)
    _commands.add_settings(parser, Settings)
    options = parser.parse_args(argv)
    splitter = _commands.splitter_of(parser, options)

    def work() -> dict[str, Any]:
        find_file(options.vectors, "--vectors")  # texts take long to read
        embedder = {
            "class_name": options.format,
            "load_path": options.vectors,
            "lacking_min_count": options.own_words,
        }
        return pretrain(
            options.texts,
            options.folder.absolute(),
            LanguageModelText(embedder, {"nums": True, "keep": options.keep}),
            splitter,
            _commands.settings_of(options, Settings),
            options.policy,
            units=options.units,
            hidden=options.hidden,
            dim=options.dim,
        )

    return _commands.exit_code(work)


if __name__ == "__main__":
    _commands.run(main)
