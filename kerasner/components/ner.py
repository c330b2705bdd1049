"""The trained component: a network and how it is trained."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasner.components._checks import check_flags
from kerasner.components._ner_inputs import (
    Table,
    char_features,
    check_widths,
    named_widths,
    word_embedding,
)
from kerasner.config import check_number
from kerasner.errors import ConfigError
from kerasner.network import NerNetwork
from kerasner.registry import register
from kerasner.schedules import LearningRate
from kerasner.schemes import scheme_of

TEMPERATURES = (0.1, 10.0)  # lowest and highest
_OPTIMIZERS = {
    "adam": "adam",
    "sgd": "sgd",
    "tensorflow.train:AdamOptimizer": "adam",
    "tensorflow.train:MomentumOptimizer": "sgd",
}


@register("ner")
class Ner:
    """The network and how it is trained: DeepPavlov's parameters with their defaults, and our own.

    Args:
        n_tags: size of the tag vocabulary; None: not checked. So for the widths that the pipeline
            knows as well: capitalization_dim, pos_features_dim and additional_features, a list of
            [name, width], and token_emb_dim where words come as vectors or by an embedder.
        token_emb_dim, token_emb_mat: width, or matrix [V, D] to start from, of the vectors of words
            that come as ids of a vocabulary. They are trained.
        char_emb_dim, char_emb_mat: the same of characters.
        char_filters, char_filter_width: of the character CNN, numbers or lists; without
            char_filters there are char_emb_dim filters of each of the widths 3, 4, 5 and 7.
        char_dropout: rate on the character embeddings.
        net_type, cell_type, n_hidden_list, cnn_filter_width, use_batch_norm, two_dense_on_top,
            use_crf, l2_reg, embeddings_dropout, intra_layer_dropout, top_dropout, word_dropout,
            adversarial, constraints: of `NerNetwork`.
        dropout_keep_prob: share that variational dropout keeps, more than 0.
        seed: of the initial weights and of what is drawn after them; None: goes on from the seed of
            the group "train".
        optimizer: "adam" or "sgd".
        learning_rate, learning_rate_decay, learning_rate_decay_epochs,
            learning_rate_decay_batches, learning_rate_drop_patience, learning_rate_drop_div: of
            `kerasner.schedules.LearningRate`.
        momentum: of SGD; of Adam, beta_1. It is constant.
        clip_norm: largest norm of the gradients of all weights together, where DeepPavlov clipped
            those of each weight for itself; None: not clipped.
        moving_average: decay of the average of the weights that is evaluated and kept; 0: none.
        temperature: by which potentials are divided where scores are computed, so that they mean
            what they say; tags do not depend on it. None: training fits it to the part valid. See
            `kerasner.calibration`.
        save_path: folder of the trained model.
        load_path: folder of a model to start from, or name of one that comes with kerasner; that of
            save_path goes first.
        lr_drop_patience, lr_drop_value, clip_grad_norm: older names of learning_rate_drop_patience,
            1 / learning_rate_drop_div and clip_norm.
        use_cudnn_rnn, gpu, mode: have no effect: TensorFlow picks device and kernel.
        momentum_decay, momentum_decay_epochs, momentum_decay_batches: "no" and 0 alone.
        fit_batch_size, fit_learning_rate, fit_learning_rate_div, fit_beta, fit_min_batches,
            fit_max_batches: None alone; there is no search for a learning rate.
    """

    def __init__(
        self,
        n_tags: int | None = None,
        token_emb_dim: int | None = None,
        token_emb_mat: Any = None,
        char_emb_dim: int | None = None,
        char_emb_mat: Any = None,
        capitalization_dim: int | None = None,
        pos_features_dim: int | None = None,
        additional_features: Sequence[Sequence[Any]] | None = None,
        char_filters: int | Sequence[int] | None = None,
        char_filter_width: int | Sequence[int] = 3,
        char_dropout: float = 0.0,
        net_type: str = "rnn",
        cell_type: str = "lstm",
        n_hidden_list: Sequence[int] = (128,),
        cnn_filter_width: int = 7,
        use_batch_norm: bool = False,
        two_dense_on_top: bool = False,
        use_crf: bool = False,
        l2_reg: float = 0.0,
        dropout_keep_prob: float = 0.5,
        embeddings_dropout: bool = False,
        intra_layer_dropout: bool = False,
        top_dropout: bool = False,
        word_dropout: float = 0.0,
        adversarial: float = 0.0,
        constraints: str = "decoding",
        seed: int | None = None,
        optimizer: str = "adam",
        learning_rate: float | Sequence[float] = 3e-3,
        learning_rate_decay: float | str | Sequence[Any] = "no",
        learning_rate_decay_epochs: int = 0,
        learning_rate_decay_batches: int = 0,
        learning_rate_drop_patience: int = 5,
        learning_rate_drop_div: float = 10.0,
        momentum: float = 0.9,
        clip_norm: float | None = 5.0,
        moving_average: float = 0.0,
        temperature: float | None = None,
        save_path: str | None = None,
        load_path: str | None = None,
        lr_drop_patience: int | None = None,
        lr_drop_value: float | None = None,
        clip_grad_norm: float | None = None,
        use_cudnn_rnn: bool = False,
        gpu: int | None = None,
        mode: str | None = None,
        momentum_decay: str = "no",
        momentum_decay_epochs: int = 0,
        momentum_decay_batches: int = 0,
        fit_batch_size: None = None,
        fit_learning_rate: None = None,
        fit_learning_rate_div: None = None,
        fit_beta: None = None,
        fit_min_batches: None = None,
        fit_max_batches: None = None,
    ):
        check_flags(
            "ner",
            use_batch_norm=use_batch_norm,
            two_dense_on_top=two_dense_on_top,
            use_crf=use_crf,
            embeddings_dropout=embeddings_dropout,
            intra_layer_dropout=intra_layer_dropout,
            top_dropout=top_dropout,
            use_cudnn_rnn=use_cudnn_rnn,
        )
        for name, value in (
            ("fit_batch_size", fit_batch_size),
            ("fit_learning_rate", fit_learning_rate),
            ("fit_learning_rate_div", fit_learning_rate_div),
            ("fit_beta", fit_beta),
            ("fit_min_batches", fit_min_batches),
            ("fit_max_batches", fit_max_batches),
        ):
            if value is not None:
                raise ConfigError(
                    f"ner: {name} {value!r}: there is no search for a learning rate; leave it out, "
                    "give learning_rate, and compare a few short runs"
                )
        if (momentum_decay, momentum_decay_epochs, momentum_decay_batches) != ("no", 0, 0):
            raise ConfigError(
                f"ner: momentum_decay {momentum_decay!r} over {momentum_decay_epochs} epochs, "
                f"{momentum_decay_batches} batches: momentum is constant here; leave these out"
            )
        if lr_drop_patience is not None:
            newer = ("learning_rate_drop_patience", learning_rate_drop_patience, 5)
            _check_alone("lr_drop_patience", *newer)
            learning_rate_drop_patience = lr_drop_patience
        if lr_drop_value is not None:
            newer = ("learning_rate_drop_div", learning_rate_drop_div, 10.0)
            _check_alone("lr_drop_value", *newer)
            check_number("ner: lr_drop_value", lr_drop_value, 1e-6, 1)
            learning_rate_drop_div = 1 / lr_drop_value
        if clip_grad_norm is not None:
            _check_alone("clip_grad_norm", "clip_norm", clip_norm, 5.0)
            clip_norm = clip_grad_norm
        for name, value, most in (
            ("char_dropout", char_dropout, 1),
            ("l2_reg", l2_reg, math.inf),
            ("word_dropout", word_dropout, 1),
            ("adversarial", adversarial, 1),
            ("momentum", momentum, 1),
            ("clip_norm", 0 if clip_norm is None else clip_norm, math.inf),
            ("moving_average", moving_average, 1),
        ):
            check_number(f"ner: {name}", value, 0, most)
        check_number("ner: dropout_keep_prob", dropout_keep_prob, 1e-6, 1)
        for name, value, least in (
            ("n_tags", n_tags, 1),
            ("token_emb_dim", token_emb_dim, 1),
            ("char_emb_dim", char_emb_dim, 1),
            ("capitalization_dim", capitalization_dim, 1),
            ("pos_features_dim", pos_features_dim, 1),
            ("cnn_filter_width", cnn_filter_width, 1),
            ("seed", seed, 0),
            ("gpu", gpu, 0),
        ):
            if value is not None:
                check_number(f"ner: {name}", value, least, whole=True)
        if temperature is not None:
            check_number("ner: temperature", temperature, *TEMPERATURES)
        if not isinstance(n_hidden_list, (list, tuple)):
            raise ConfigError(f"ner: n_hidden_list: expected a list, received {n_hidden_list!r}")
        for units in n_hidden_list:
            check_number("ner: n_hidden_list", units, 1, whole=True)
        if mode is not None and not isinstance(mode, str):
            raise ConfigError(f"ner: mode: expected a string, received {mode!r}")
        if not isinstance(optimizer, str) or optimizer not in _OPTIMIZERS:
            raise ConfigError(
                f"ner: optimizer {optimizer!r}; expected one of {', '.join(map(repr, _OPTIMIZERS))}"
            )
        self._network_settings = {
            "n_hidden_list": n_hidden_list,
            "net_type": net_type,
            "cell_type": cell_type,
            "cnn_filter_width": cnn_filter_width,
            "use_batch_norm": use_batch_norm,
            "two_dense_on_top": two_dense_on_top,
            "use_crf": use_crf,
            "l2_reg": l2_reg,
            "dropout": 1.0 - dropout_keep_prob,
            "embeddings_dropout": embeddings_dropout,
            "intra_layer_dropout": intra_layer_dropout,
            "top_dropout": top_dropout,
            "word_dropout": word_dropout,
            "adversarial": adversarial,
            "constraints": constraints,
            "temperature": 1.0 if temperature is None else temperature,
        }
        self._word_table = Table("token_emb", token_emb_dim, token_emb_mat)
        self._char_table = Table("char_emb", char_emb_dim, char_emb_mat)
        self._char_settings = {
            "filters": char_filters,
            "kernel_size": char_filter_width,
            "dropout": char_dropout,
        }
        self._n_tags = n_tags
        self._feature_widths = {
            "capitalization_dim": capitalization_dim,
            "pos_features_dim": pos_features_dim,
            **named_widths(additional_features),
        }
        self._seed = seed
        self._optimizer = _OPTIMIZERS[optimizer]
        self._momentum = momentum
        self._clip_norm = clip_norm
        self._schedule_settings = {
            "learning_rate": learning_rate,
            "decay": learning_rate_decay,
            "decay_epochs": learning_rate_decay_epochs,
            "decay_batches": learning_rate_decay_batches,
            "drop_patience": learning_rate_drop_patience,
            "drop_div": learning_rate_drop_div,
        }
        self.schedule(1, 1)  # which checks its settings
        self.moving_average = moving_average
        self.temperature = temperature
        self.save_path = save_path
        self.load_path = load_path

    def network(
        self,
        tags: list[str],
        words: keras.layers.Layer | int | None,
        n_chars: int | None,
        features: Mapping[str, int],
    ) -> NerNetwork:
        """The untrained network.

        Args:
            tags: names of the tags in the order of their ids.
            words: layer from word ids to vectors; or the number of word ids; or None, where the
                words are vectors already.
            n_chars: number of character ids; None: there are no characters.
            features: width of each further input.

        Raises:
            ConfigError: parameters contradict what the pipeline has.
        """
        if self._n_tags not in (None, len(tags)):
            raise ConfigError(f"ner: n_tags {self._n_tags}; the pipeline has {len(tags)} tags")
        check_widths(self._feature_widths, features)
        if self._seed is not None:
            keras.utils.set_random_seed(self._seed)
        embedding = word_embedding(words, self._word_table)
        chars = char_features(n_chars, self._char_table, **self._char_settings)
        return NerNetwork(tags, embedding, chars, scheme=scheme_of(tags), **self._network_settings)

    def optimizer(self) -> keras.optimizers.Optimizer:
        """A new optimizer, at the learning rate of the start."""
        rate, clipping = self.schedule(1, 1).rate(0), {"global_clipnorm": self._clip_norm}
        if self._optimizer == "adam":
            return keras.optimizers.Adam(rate, beta_1=self._momentum, **clipping)
        return keras.optimizers.SGD(rate, momentum=self._momentum, **clipping)

    def schedule(self, steps_per_epoch: int, epochs: int) -> LearningRate:
        """A new callback that sets the learning rate of a training run."""
        return LearningRate(
            **self._schedule_settings, steps_per_epoch=steps_per_epoch, epochs=epochs
        )


def _check_alone(old: str, new: str, value: Any, default: Any) -> None:
    """An older name of a parameter may be given only where its newer one is not."""
    if value != default:
        raise ConfigError(f"ner: {old} is an older name of {new}; expected one of them")
