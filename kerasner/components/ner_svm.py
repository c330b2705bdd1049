"""The trained component of few-shot tagging: support vector machines and how they are fitted."""

from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from kerasner import storage
from kerasner.components._checks import check_flags
from kerasner.config import check_number
from kerasner.errors import ArchiveError, ConfigError
from kerasner.few_shot import SvmNetwork, fitting
from kerasner.few_shot.language_model import LanguageModel
from kerasner.few_shot.machines import KERNELS
from kerasner.network import token_mask
from kerasner.registry import register
from kerasner.schemes import scheme_of


@register("ner_svm")
class NerSvm:
    """Support vector machines over word vectors and further features of a token and its neighbours.

    Needs scikit-learn to be trained (the extra kerasner[few-shot]), but not to be used.

    Args:
        kernel: "rbf" or "linear".
        C: weight of the errors against that of the margin.
        gamma: of "rbf"; "auto": 1 / number of features.
        class_weight: None, or "balanced": each class counts the same however rare it is.
        window: neighbours on either side whose features are used.
        decay: how much those of a neighbour count, to the power of its distance.
        threshold: probability above which a token gets the one tag beside O; of several tags, what
            is below 0.5 makes each likelier in the same way. Scores are shifted alike, so that a
            tag is chosen where its score is the highest.
        transitions: how much the tag of the token before counts, by what it makes of the
            probability of a tag in the sentences learnt from; 0: each tag by itself.
        seed: of what is drawn in fitting.
        save_path: folder of the trained model.
        load_path: folder where a trained model is looked for if there is none in save_path.
        return_probabilities: has no effect: scores come beside the tags.
    """

    def __init__(
        self,
        kernel: str = "rbf",
        C: float = 1.0,
        gamma: float | str = "auto",
        class_weight: str | None = None,
        window: int = 1,
        decay: float = 0.35,
        threshold: float = 0.35,
        transitions: float = 0.25,
        seed: int = 42,
        save_path: str | None = None,
        load_path: str | None = None,
        return_probabilities: bool = False,
    ):
        check_flags("ner_svm", return_probabilities=return_probabilities)
        if kernel not in KERNELS:
            raise ConfigError(
                f"ner_svm: kernel: expected one of {', '.join(map(repr, KERNELS))}, "
                f"received {kernel!r}"
            )
        if class_weight not in (None, "balanced"):
            raise ConfigError(
                f"ner_svm: class_weight: expected null or 'balanced', received {class_weight!r}"
            )
        check_number("ner_svm: C", C, 1e-9)
        if gamma != "auto":
            check_number("ner_svm: gamma", gamma, 1e-9)
        check_number("ner_svm: window", window, 0, whole=True)
        check_number("ner_svm: decay", decay, 0, 1)
        check_number("ner_svm: threshold", threshold, 1e-6, 1 - 1e-6)
        check_number("ner_svm: transitions", transitions, 0, 10)
        check_number("ner_svm: seed", seed, 0, 2**32 - 1, whole=True)
        self._network_settings = {
            "kernel": kernel,
            "gamma": None if gamma == "auto" else gamma,
            "window": window,
            "decay": decay,
            "use_crf": transitions > 0,
        }
        self._settings = fitting.SvmSettings(C, class_weight, threshold, seed, transitions)
        self._n_vectors = 0
        self.save_path = save_path
        self.load_path = load_path

    def network(
        self,
        tags: list[str],
        words: keras.layers.Layer | int | None,
        n_chars: int | None,
        features: Mapping[str, int],
    ) -> SvmNetwork:
        """The network, of as many support vectors as were fitted; see `Ner.network`.

        Raises:
            ConfigError: the inputs are nothing that machines could compare.
        """
        if isinstance(words, int) or n_chars is not None:
            raise ConfigError(
                "ner_svm: in: expected word vectors, and floats [N, K] beside them; received ids "
                f"of {'characters' if n_chars is not None else 'a vocabulary of words'}, which "
                "have no vectors without training"
            )
        language_model = None
        if isinstance(words, LanguageModel):
            words, language_model = None, words
        return SvmNetwork(
            tags,
            words,
            language_model,
            self._n_vectors,
            scheme=scheme_of(tags),
            **self._network_settings,
        )

    def fitted(self, network: SvmNetwork, batches: tf.data.Dataset) -> SvmNetwork:
        """The network fitted to all sentences of batches of (inputs, tag ids).

        Raises:
            ConfigError: scikit-learn is missing.
            DataError: all tokens are O, or of one type.
        """
        fitting.check_installed()
        sentences, classes = [], []
        for inputs, tags in batches:
            mask = token_mask(inputs, has_ids=network.token_embedding is not None)
            features = network.in_context(network.token_features(inputs), mask)
            rows = zip(features.numpy(), tags.numpy(), mask.numpy(), strict=True)
            for row, ids, is_token in rows:
                sentences.append(row[is_token])
                classes.append(ids[is_token])
        result = fitting.fitted(network, sentences, classes, self._settings)
        self._n_vectors = result.svm.n_vectors
        return result

    def save(self, folder: Path, name: str) -> None:
        storage.write_json(folder / f"{name}.json", {"vectors": self._n_vectors})

    def load(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.json"
        content = storage.read_json(path)
        try:
            check_number("vectors", content["vectors"], 0, whole=True)
        except (KeyError, TypeError, ConfigError) as error:
            raise ArchiveError(f"{path}: damaged: {error}") from error
        self._n_vectors = content["vectors"]
