"""The trained component: a network and how it is trained."""

import math

import keras

from kerasner.config import check_number
from kerasner.errors import ConfigError
from kerasner.layers import CharCNN
from kerasner.network import NerNetwork
from kerasner.registry import register


@register("ner")
class Ner:
    """The network and how it is trained.

    Args:
        n_hidden_list: units a direction of each LSTM layer.
        char_emb_dim: width of a character's embedding.
        char_filters, char_filter_width: of the character CNN.
        char_dropout: rate on the character embeddings.
        dropout_keep_prob: share that variational dropout keeps.
        embeddings_dropout, intra_layer_dropout, top_dropout: where it acts.
        word_dropout: probability, in training, of reading a word as unknown.
        constraints: of the `CRF` layer.
        optimizer: "sgd" or "adam".
        learning_rate: at the start.
        learning_rate_decay: the rate of epoch e is learning_rate / (1 + decay * e).
        momentum: of SGD.
        clip_norm: of the gradients of all weights together; None: not clipped.
        moving_average: decay of the average of the weights that is evaluated and kept; 0: none.
        save_path: folder of the trained model.
    """

    def __init__(
        self,
        n_hidden_list: tuple[int, ...] = (128,),
        char_emb_dim: int = 30,
        char_filters: int = 50,
        char_filter_width: int = 3,
        char_dropout: float = 0.0,
        dropout_keep_prob: float = 0.5,
        embeddings_dropout: bool = True,
        intra_layer_dropout: bool = True,
        top_dropout: bool = True,
        word_dropout: float = 0.0,
        constraints: str = "decoding",
        optimizer: str = "sgd",
        learning_rate: float = 0.015,
        learning_rate_decay: float = 0.05,
        momentum: float = 0.9,
        clip_norm: float | None = 5.0,
        moving_average: float = 0.999,
        save_path: str | None = None,
    ):
        self.char_settings = {
            "filters": char_filters,
            "kernel_size": char_filter_width,
            "char_dim": char_emb_dim,
            "dropout": char_dropout,
        }
        self.network_settings = {
            "n_hidden_list": n_hidden_list,
            "dropout": 1.0 - dropout_keep_prob,
            "embeddings_dropout": embeddings_dropout,
            "intra_layer_dropout": intra_layer_dropout,
            "top_dropout": top_dropout,
            "word_dropout": word_dropout,
            "constraints": constraints,
        }
        for name, value, most in (
            ("char_dropout", char_dropout, 1),
            ("dropout_keep_prob", dropout_keep_prob, 1),
            ("word_dropout", word_dropout, 1),
            ("learning_rate", learning_rate, math.inf),
            ("learning_rate_decay", learning_rate_decay, math.inf),
            ("momentum", momentum, 1),
            ("clip_norm", 0 if clip_norm is None else clip_norm, math.inf),
            ("moving_average", moving_average, 1),
        ):
            check_number(f"ner: {name}", value, 0, most)
        if optimizer not in ("sgd", "adam"):
            raise ConfigError(f"ner: optimizer {optimizer!r}; expected 'sgd' or 'adam'")
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.momentum = momentum
        self.clip_norm = clip_norm
        self.moving_average = moving_average
        self.save_path = save_path

    def network(
        self, tags: list[str], embedding: keras.layers.Layer, n_chars: int | None
    ) -> NerNetwork:
        """The untrained network; `n_chars`: size of the character vocabulary, None: none."""
        chars = None
        if n_chars is not None:
            chars = CharCNN(vocabulary_size=n_chars, **self.char_settings)
        return NerNetwork(tags, embedding, chars, **self.network_settings)

    def optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """A new optimizer."""
        rate = keras.optimizers.schedules.InverseTimeDecay(
            self.learning_rate, steps_per_epoch, self.learning_rate_decay, staircase=True
        )
        if self.optimizer_name == "adam":
            return keras.optimizers.Adam(rate, global_clipnorm=self.clip_norm)
        return keras.optimizers.SGD(rate, momentum=self.momentum, global_clipnorm=self.clip_norm)
