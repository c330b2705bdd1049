"""A linear-chain CRF as an ordinary Keras layer."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasner import linear_chain, schemes
from kerasner._compat import NO_AUTOCAST
from kerasner.layers._alignment import is_left_aligned, left_align, lengths_of, restore

_CONSTRAINTS = ("decoding", "always", "never")


class Potentials(NamedTuple):
    """What a `CRF` layer puts out, and all that can be asked of it.

    Masked steps, wherever they are, do not count: a sentence's neighbours are its unmasked steps.

    Attributes:
        emissions: float32 [B, T, N], boundary potentials included.
        mask: bool [B, T].
        transitions: float32 [N, N]; `transitions[i, j]`: tag j follows tag i.
    """

    emissions: tf.Tensor
    mask: tf.Tensor
    transitions: tf.Tensor

    def log_likelihood(self, tags: tf.Tensor) -> tf.Tensor:
        """Log-probability of the tags int [B, T], any at masked steps -> float32 [B]."""
        tags = tf.cast(tags, tf.int32)
        if not tags.shape.is_compatible_with(self.mask.shape):
            raise ValueError(
                f"Expected tag ids [B, T] of shape {self.mask.shape}; received {tags.shape}"
            )
        n_tags = self.emissions.shape[-1]
        known = ~self.mask | ((tags >= 0) & (tags < n_tags))
        tf.debugging.Assert(
            tf.reduce_all(known), [f"Expected tag ids from 0 to {n_tags - 1}; received", tags]
        )
        _, chain, tags = self._left_aligned(tags)
        return linear_chain.log_likelihood(*chain, tags)

    def log_partition(self) -> tf.Tensor:
        """Log of the summed exponentials of all paths' potentials -> float32 [B]."""
        _, chain = self._left_aligned()
        return linear_chain.log_partition(*chain)

    def decode(self) -> tf.Tensor:
        """Most probable tags (Viterbi) -> int32 [B, T], 0 at masked steps."""
        return self.viterbi()[0]

    def viterbi(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Most probable tags int32 [B, T], 0 at masked steps, and their potential float32 [B].

        The potential less `log_partition()` is the log-probability.
        """
        order, chain = self._left_aligned()
        tags, potentials = linear_chain.viterbi(*chain)
        return restore(order, tags), potentials

    def k_best(self, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The k most probable taggings, best first, and their potentials.

        Returns:
            tags int32 [B, k, T], 0 at masked steps, and potentials float32 [B, k]; where there are
            fewer taggings than k, tags 0 and the potential -inf for the others.
        """
        order, chain = self._left_aligned()
        tags, potentials = linear_chain.k_best(*chain, k)
        by_step = restore(order, tf.transpose(tags, [0, 2, 1]))
        return tf.transpose(by_step, [0, 2, 1]), potentials

    def marginals(self) -> tf.Tensor:
        """Posterior probability of each tag -> float32 [B, T, N], zeros at masked steps."""
        order, chain = self._left_aligned()
        return restore(order, linear_chain.marginals(*chain))

    def sample(self, seed: tf.Tensor) -> tf.Tensor:
        """Tags drawn with the probability of the tagging -> int32 [B, T], 0 at masked steps.

        The same seed, int [2], draws the same tags.
        """
        order, chain = self._left_aligned()
        return restore(order, linear_chain.sample(*chain, seed))

    def tempered(self, temperature: float) -> "Potentials":
        """All potentials divided by a temperature above 0: above 1, the best tagging stays the best
        and becomes less probable. What is forbidden stays so.

        References:
            Guo, Pleiss, Sun, Weinberger (2017): On calibration of modern neural networks.
        """

        factor = 1.0 / temperature

        def divided(values: tf.Tensor) -> tf.Tensor:
            return tf.where(values > linear_chain.RULED_OUT, values * factor, values)

        return Potentials(divided(self.emissions), self.mask, divided(self.transitions))

    def tfa_outputs(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The four outputs of `tfa.layers.CRF`, for code that was written for them.

        Returns:
            decoded_sequence int32 [B, T], potentials float32 [B, T, N], sequence_length int64 [B]
            and chain_kernel float32 [N, N]. As there, sentences have to be padded at their end.
        """
        tf.debugging.Assert(
            is_left_aligned(self.mask),
            ["Expected sentences padded at their end alone, as tfa does; received mask", self.mask],
        )
        lengths = tf.cast(lengths_of(self.mask), tf.int64)
        return self.decode(), self.emissions, lengths, self.transitions

    def _left_aligned(self, *tensors: tf.Tensor) -> tuple:
        """What `restore` needs, the arguments of `linear_chain`'s functions, then `tensors`."""
        emissions, mask, transitions = (tf.TensorShape(field.shape) for field in self)
        if (
            emissions.rank != 3
            or not mask.is_compatible_with(emissions[:2])
            or not transitions.is_compatible_with([emissions[2]] * 2)
        ):
            raise ValueError(
                "Expected emissions [B, T, N], a mask [B, T] and transitions [N, N]; received "
                f"shapes {emissions}, {mask}, {transitions}"
            )
        order, aligned, *tensors = left_align(self.mask, self.emissions, *tensors)
        return order, (aligned, lengths_of(self.mask), self.transitions), *tensors


def unpack(packed: tf.Tensor) -> Potentials:
    """Reads the output of a `CRF` layer, float32 [B, N + T, N + 1].

    The first N rows of each sample are the transitions, the others its steps: N emissions and,
    in the last column, the mask.

    Raises:
        ValueError: this is no output of a `CRF` layer.
    """
    packed = tf.convert_to_tensor(packed)
    shape = packed.shape
    n_tags = 0 if shape.rank != 3 else (shape[-1] or 0) - 1
    if n_tags < 1 or (shape[1] is not None and shape[1] < n_tags):
        raise ValueError(
            f"Expected the output of a CRF layer of N tags, [B, N + T, N + 1]; received {shape}"
        )
    # One sample's copy carries the gradient of all; a sum keeps an empty batch legal.
    transitions = tf.reduce_sum(packed[:1, :n_tags, :n_tags], axis=0)
    return Potentials(packed[:, n_tags:, :n_tags], packed[:, n_tags:, n_tags] > 0.5, transitions)


@keras.saving.register_keras_serializable("kerasner")
class CRF(keras.layers.Layer):
    """Linear-chain conditional random field on top of a sequence of features.

    The layer puts out one tensor that holds everything its loss, its metric and its decoder need,
    so that a model which ends in it works with the stock `compile` and `fit`:

    - train with `kerasner.losses.CRFLoss`, measure with `kerasner.metrics.EntityF1`;
    - `unpack(outputs)` gives emissions, mask and transitions as `Potentials`, and from them
      `.decode()`, `.viterbi()`, `.k_best(k)`, `.sample(seed)`, `.marginals()`,
      `.log_likelihood(tags)`, `.log_partition()` and `.tempered(temperature)`; `span_probability`
      of the layer gives that of an entity.

    The mask is part of the output; no Keras mask leaves the layer. Losses are a value a sentence,
    so a sample weight is one number a sentence. Whatever the dtype policy, everything after the
    projection is computed in float32.

    The arguments of `tfa.layers.CRF` (tensorflow-addons) have their names and their meaning here,
    and `set_weights` takes what its `get_weights` gives, and the other way round; see
    docs/migration/from_tensorflow_addons.md.

    Keras 3 would compile a model by XLA on its own where there is a GPU, anew for each length of
    sentences; this layer declines. `layer.supports_jit = True` permits it, but for a model that is
    compiled with `EntityF1`, which is beyond XLA.

    Args:
        units: number of tags N; may be left out where `tags` is given.
        tags: names of the tags in the order of their ids. Needed for constraints.
        scheme: "bio", "iob1", "bioes" or "io", see `kerasner.schemes`.
        constraints: "decoding": sequences that the scheme forbids have probability zero outside
            training, so that the loss of an illegal sequence is about 1e9 there (a metric of
            training batches decodes without them); "always": in training too; "never". Without
            `tags` there are none.
        use_kernel: project the inputs to N emissions; else the inputs are the emissions.
        use_boundary: learn potentials for the first and the last tag.
        chain_initializer, chain_regularizer, chain_constraint: of the transitions.
        boundary_initializer, boundary_regularizer, boundary_constraint: of the boundaries.
        kernel_initializer, kernel_regularizer, kernel_constraint: of the projection.
        use_bias, bias_initializer, bias_regularizer, bias_constraint: of its bias.

    Call arguments:
        inputs: float [B, T, D].
        mask: [B, T], bool or not 0 where there is a token, or None; padding may be left, right or
            inside.
        training: Python bool or None.

    Returns:
        float32 [B, N + T, N + 1], whatever the dtype policy; read it with `unpack`.

    Example:

    ```python
    words = keras.Input([None], dtype="int32")
    x = keras.layers.Embedding(1000, 50, mask_zero=True)(words)
    x = kerasner.layers.LSTM(64, bidirectional=True)(x)
    model = keras.Model(words, kerasner.layers.CRF(tags=["O", "B-PER", "I-PER"])(x))
    model.compile("adam", kerasner.losses.CRFLoss())
    ```

    References:
        Lafferty, McCallum, Pereira (2001): Conditional random fields.
    """

    def __init__(
        self,
        units: int | None = None,
        tags: list[str] | None = None,
        scheme: str = "bio",
        constraints: str = "decoding",
        use_kernel: bool = True,
        use_boundary: bool = True,
        chain_initializer="orthogonal",
        chain_regularizer=None,
        chain_constraint=None,
        boundary_initializer="zeros",
        boundary_regularizer=None,
        boundary_constraint=None,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        kernel_constraint=None,
        use_bias: bool = True,
        bias_initializer="zeros",
        bias_regularizer=None,
        bias_constraint=None,
        **kwargs,
    ):
        if kwargs.get("activity_regularizer") is not None:
            raise ValueError(
                f"Received activity_regularizer={kwargs['activity_regularizer']!r}; expected the "
                "regularizers of single weights: the output holds transitions and mask as well"
            )
        super().__init__(**kwargs)
        if isinstance(tags, str):
            raise ValueError(
                f"Received tags={tags!r}; expected a list of names (and arguments other than units "
                "and tags by name)"
            )
        if tags and len(set(tags)) < len(tags):
            raise ValueError(f"Received tags={list(tags)}; expected distinct names")
        if units is None and not tags:
            raise ValueError("CRF needs `units`, the number of tags, or `tags`, their names")
        if tags and units not in (None, len(tags)):
            raise ValueError(f"Received units={units} and {len(tags)} tags: {tags}")
        if constraints not in _CONSTRAINTS:
            raise ValueError(f"Received constraints={constraints!r}; expected {_CONSTRAINTS}")
        self.units = len(tags) if units is None else int(units)
        if self.units < 1:
            raise ValueError(f"Received units={units}; expected at least 1")
        self.tags = list(tags) if tags else None
        self.scheme = scheme
        self.constraints = constraints
        self.use_kernel = use_kernel
        self.use_boundary = use_boundary
        self.use_bias = use_bias
        self._settings = {}
        for name, initializer, regularizer, constraint in (
            ("chain", chain_initializer, chain_regularizer, chain_constraint),
            ("boundary", boundary_initializer, boundary_regularizer, boundary_constraint),
            ("kernel", kernel_initializer, kernel_regularizer, kernel_constraint),
            ("bias", bias_initializer, bias_regularizer, bias_constraint),
        ):
            self._settings[name] = {
                "initializer": keras.initializers.get(initializer),
                "regularizer": keras.regularizers.get(regularizer),
                "constraint": keras.constraints.get(constraint),
            }
        self.supports_masking = True
        self.supports_jit = False
        for tag in tags or ():
            schemes.split_tag(tag, scheme)
        constrained = tags and constraints != "never"
        self._legality = schemes.legality(list(tags), scheme) if constrained else None

    def build(self, input_shape):
        width = input_shape[-1]
        if len(input_shape) != 3 or width is None:
            raise ValueError(f"CRF takes inputs [B, T, D] of known D; received {input_shape}")
        if not self.use_kernel and width != self.units:
            raise ValueError(
                f"Without a kernel the inputs are the emissions: expected {self.units} columns, "
                f"received {width}"
            )
        # In the order of tfa.layers.CRF, for set_weights.
        self.transitions = self._weight("transitions", (self.units, self.units), "chain")
        if self.use_boundary:
            self.left_boundary = self._weight("left_boundary", (self.units,), "boundary")
            self.right_boundary = self._weight("right_boundary", (self.units,), "boundary")
        if self.use_kernel:
            self.kernel = self._weight("kernel", (width, self.units), "kernel")
            if self.use_bias:
                self.bias = self._weight("bias", (self.units,), "bias")
        self.built = True

    def _weight(self, name: str, shape: tuple[int, ...], kind: str):
        return self.add_weight(name=name, shape=shape, **self._settings[kind], **NO_AUTOCAST)

    def call(self, inputs, mask=None, training=None):
        emissions = tf.cast(inputs, self.compute_dtype)
        if self.use_kernel:
            emissions = tf.tensordot(emissions, tf.cast(self.kernel, emissions.dtype), 1)
        emissions = tf.cast(emissions, tf.float32)
        if self.use_kernel and self.use_bias:
            emissions += tf.cast(self.bias, tf.float32)
        batch, steps = tf.shape(emissions)[0], tf.shape(emissions)[1]
        mask = tf.ones([batch, steps], tf.bool) if mask is None else tf.cast(mask, tf.bool)
        if not mask.shape.is_compatible_with(emissions.shape[:2]):
            raise ValueError(
                f"Expected a mask [B, T] for inputs of shape {tuple(inputs.shape)}; received "
                f"shape {tuple(mask.shape)}"
            )
        transitions, left, right = self._chain(training)
        counts = tf.cast(mask, tf.int32)
        is_first = mask & (tf.cumsum(counts, axis=1) == 1)
        is_last = mask & (tf.cumsum(counts, axis=1, reverse=True) == 1)
        emissions += tf.where(is_first[..., None], left, 0.0)
        emissions += tf.where(is_last[..., None], right, 0.0)

        steps_packed = tf.concat([emissions, tf.cast(mask, tf.float32)[..., None]], -1)
        chain_packed = tf.pad(transitions, [[0, 0], [0, 1]])[None]
        packed = tf.concat([tf.repeat(chain_packed, batch, axis=0), steps_packed], axis=1)
        return tf.ensure_shape(packed, [None, None, self.units + 1])

    def _chain(self, training) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Transitions [N, N] and boundaries [N], [N], float32, constraints applied."""
        transitions = tf.cast(self.transitions, tf.float32)
        left = right = tf.zeros([self.units])
        if self.use_boundary:
            left = tf.cast(self.left_boundary, tf.float32)
            right = tf.cast(self.right_boundary, tf.float32)
        constrained = self.constraints == "always" or (
            self.constraints == "decoding" and not training
        )
        if self._legality is None or not constrained:
            return transitions, left, right
        chain = zip(self._legality, (left, right, transitions), strict=True)
        left, right, transitions = (
            tf.where(np.asarray(allowed), potentials, linear_chain.FORBIDDEN)
            for allowed, potentials in chain
        )
        return transitions, left, right

    def span_probability(
        self,
        outputs: tf.Tensor,
        rows: tf.Tensor,
        starts: tf.Tensor,
        ends: tf.Tensor,
        labels: str | Sequence[str],
    ) -> tf.Tensor:
        """Exact probability that given spans are entities of given labels, borders included.

        Args:
            outputs: what this layer put out, [B, N + T, N + 1].
            rows: int [M], sentence of each span.
            starts: int [M], first step of each span.
            ends: int [M], the step after its last.
            labels: names of M labels, as in `tags` ("PER"), or of one for all.

        Returns:
            float32 [M]; 0 where the first or the last step is masked or does not exist.

        Example: `crf.span_probability(model(words), [0, 0], [1, 4], [3, 5], ["PER", "LOC"])`

        Raises:
            ValueError: the layer knows no such label.
        """
        rules = schemes.entity_rules(self.tags or [], self.scheme)
        names = [labels] if isinstance(labels, str) else list(labels)
        for name in names:
            if name not in rules.labels:
                raise ValueError(f"Received label {name!r}; expected one of {rules.labels}")
        potentials = unpack(outputs)
        _, chain = potentials._left_aligned()
        rows, starts, ends = (tf.cast(x, tf.int32) for x in (rows, starts, ends))
        numbers = [rules.labels.index(name) for name in names]
        numbers = tf.fill(tf.shape(rows), *numbers) if isinstance(labels, str) else numbers

        # Where each step stands among the unmasked ones of its row; -1: nowhere.
        mask, steps = potentials.mask, tf.shape(potentials.mask)[1]
        places = tf.where(mask, tf.cumsum(tf.cast(mask, tf.int32), axis=1) - 1, -1)
        places = tf.pad(places, [[0, 0], [0, 1]], constant_values=-1)

        def place(step):
            step = tf.where((step >= 0) & (step < steps), step, steps)
            return tf.gather_nd(places, tf.stack([rows, step], axis=1))

        return tf.exp(
            linear_chain.span_log_probability(
                *chain, rules, rows, place(starts), place(ends - 1), numbers
            )
        )

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        steps = input_shape[1]
        return (
            input_shape[0],
            None if steps is None else steps + self.units,
            self.units + 1,
        )

    def compute_output_spec(self, inputs, mask=None, training=None):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")

    def get_config(self):
        settings = {}
        for kind, setting in self._settings.items():
            settings[f"{kind}_initializer"] = keras.initializers.serialize(setting["initializer"])
            settings[f"{kind}_regularizer"] = keras.regularizers.serialize(setting["regularizer"])
            settings[f"{kind}_constraint"] = keras.constraints.serialize(setting["constraint"])
        return {
            **super().get_config(),
            "units": self.units,
            "tags": self.tags,
            "scheme": self.scheme,
            "constraints": self.constraints,
            "use_kernel": self.use_kernel,
            "use_boundary": self.use_boundary,
            "use_bias": self.use_bias,
            **settings,
        }
