import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers import CRF, Potentials, unpack
from kerasner.losses import CRFLoss
from kerasner.metrics import EntityF1

WIDTH = 4
SCHEMES = {
    "bio": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "iob1": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "bioes": ["O"] + [f"{prefix}-{label}" for label in ("PER", "LOC") for prefix in "BIES"],
}


def legal(tags, scheme):
    """Whether each entity is opened, continued and closed as the scheme demands."""
    opened = previous = ""
    for tag in [*tags, "O"]:
        prefix, _, label = tag.partition("-")
        if scheme == "bioes":
            if opened != (label if prefix in ("I", "E") else ""):
                return False
            opened = label if prefix in ("B", "I") else ""
        elif prefix == {"bio": "I", "iob1": "B"}[scheme] and previous != label:
            return False
        previous = label
    return True


def built(seed=0, scale=1.0, **kwargs):
    """A layer all of whose weights are random."""
    layer = CRF(**kwargs)
    layer.build((None, None, WIDTH))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) * scale for w in layer.get_weights()])
    return layer


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def compiled(layer, training=False):
    """What the potentials of inputs of any shape answer, traced once."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, WIDTH]),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([None, None], tf.int32),
        ]
    )
    def function(inputs, mask, tags):
        potentials = unpack(layer(inputs, mask=mask, training=training))
        return {
            "decoded": potentials.decode(),
            "best": potentials.viterbi()[1],
            "k_best": potentials.k_best(3),
            "sample": potentials.sample([3, 4]),
            "marginals": potentials.marginals(),
            "log_likelihood": potentials.log_likelihood(tags),
            "log_partition": potentials.log_partition(),
        }

    return function


CONSTRAINED = {
    scheme: compiled(built(scale=2.0, tags=tags, scheme=scheme)) for scheme, tags in SCHEMES.items()
}


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.sampled_from(sorted(SCHEMES)),
    st.lists(st.integers(0, 6), max_size=4),
    st.sampled_from([0.0, 1.0, 20.0]),
    st.integers(0, 10**6),
)
def test_padding_anywhere_is_as_none_and_decoded_tags_are_legal(scheme, lengths, scale, seed):
    tags, function = SCHEMES[scheme], CONSTRAINED[scheme]
    rng = np.random.default_rng(seed)
    width = max(lengths, default=0) + int(rng.integers(0, 3))
    inputs = rng.normal(size=(len(lengths), width, WIDTH)).astype("float32") * scale
    gold = rng.integers(0, len(tags), size=(len(lengths), width)).astype("int32")
    mask = np.zeros(gold.shape, bool)
    for row, length in enumerate(lengths):
        places = {
            "right": np.arange(length),
            "left": np.arange(width - length, width),
            "inside": rng.permutation(width)[:length],
        }[rng.choice(["right", "left", "inside"])]
        mask[row, places] = True
    results = function(inputs, mask, gold)
    decoded, marginals = results["decoded"].numpy(), results["marginals"].numpy()
    k_best, k_potentials = (x.numpy() for x in results["k_best"])
    sample = results["sample"].numpy()
    assert not decoded[~mask].any() and not marginals[~mask].any() and not sample[~mask].any()
    assert not k_best.transpose(0, 2, 1)[~mask].any()
    np.testing.assert_array_equal(k_best[:, 0], decoded)
    np.testing.assert_allclose(k_potentials[:, 0], results["best"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(marginals[mask].sum(-1), 1.0, atol=1e-5)
    for row, length in enumerate(lengths):
        own = mask[row]
        assert legal([tags[i] for i in decoded[row, own]], scheme)
        assert legal([tags[i] for i in sample[row, own]], scheme)
        alone = function(
            inputs[row : row + 1, own], np.ones([1, length], bool), gold[row : row + 1, own]
        )
        np.testing.assert_array_equal(decoded[row, own], alone["decoded"][0])
        np.testing.assert_allclose(marginals[row, own], alone["marginals"][0], atol=1e-5)
        for name in ("log_likelihood", "log_partition", "best"):
            np.testing.assert_allclose(results[name][row], alone[name][0], rtol=1e-5, atol=1e-5)
        exists = np.isfinite(k_potentials[row])
        np.testing.assert_array_equal(k_best[row][exists][:, own], alone["k_best"][0][0][exists])


@pytest.mark.parametrize(
    "constraints, training, constrained",
    [
        ("decoding", True, False),
        ("decoding", False, True),
        ("always", True, True),
        ("always", False, True),
        ("never", False, False),
    ],
)
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_constraints_rule_out_illegal_sequences_only(scheme, constraints, training, constrained):
    tags = SCHEMES[scheme]
    layer = built(tags=tags, scheme=scheme, constraints=constraints)
    paths = np.array(list(itertools.product(range(len(tags)), repeat=3)))
    sentence = normal(1, 1, 3, WIDTH)
    one = unpack(layer(sentence, training=training))
    everywhere = one._replace(
        emissions=tf.repeat(one.emissions, len(paths), 0), mask=tf.repeat(one.mask, len(paths), 0)
    )
    likelihoods = everywhere.log_likelihood(paths).numpy()
    # The same layer without names knows of no scheme.
    free = CRF(len(tags))
    free.build((None, None, WIDTH))
    free.set_weights(layer.get_weights())
    unconstrained = unpack(free(sentence))
    allowed = np.array([legal([tags[i] for i in path], scheme) for path in paths])
    assert allowed.any() and not allowed.all()
    if constrained:
        assert (likelihoods[~allowed] < -1e8).all()
        np.testing.assert_allclose(np.exp(likelihoods[allowed]).sum(), 1.0, rtol=1e-5)
        best = paths[allowed][likelihoods[allowed].argmax()]
        np.testing.assert_array_equal(one.decode()[0], best)
    else:
        np.testing.assert_allclose(np.exp(likelihoods).sum(), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(one.transitions, unconstrained.transitions)
        np.testing.assert_array_equal(one.emissions, unconstrained.emissions)


def test_potentials_are_those_of_the_weights():
    layer = built(units=3)
    weights = {w.name.split("/")[-1].split(":")[0]: w.numpy() for w in layer.weights}
    inputs = normal(2, 2, 3, WIDTH)
    mask = np.array([[True, True, True], [False, True, False]])
    emissions = inputs @ weights["kernel"] + weights["bias"]
    emissions[0, 0] += weights["left_boundary"]
    emissions[0, 2] += weights["right_boundary"]
    emissions[1, 1] += weights["left_boundary"] + weights["right_boundary"]
    potentials = unpack(layer(inputs, mask=mask))
    np.testing.assert_allclose(potentials.emissions, emissions, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(potentials.mask, mask)
    np.testing.assert_array_equal(potentials.transitions, weights["transitions"])
    path = [2, 0, 1]
    total = emissions[0, range(3), path].sum()
    total += sum(weights["transitions"][i, j] for i, j in itertools.pairwise(path))
    others = [
        emissions[0, range(3), p].sum()
        + sum(weights["transitions"][i, j] for i, j in itertools.pairwise(p))
        for p in itertools.product(range(3), repeat=3)
    ]
    likelihood = potentials.log_likelihood(np.array([path, [0, 0, 0]]))
    np.testing.assert_allclose(likelihood[0], total - np.log(np.exp(others).sum()), rtol=1e-5)


def test_without_kernel_and_boundary_the_inputs_are_the_emissions():
    layer = built(units=WIDTH, use_kernel=False, use_boundary=False)
    assert len(layer.weights) == 1
    inputs = normal(3, 2, 3, WIDTH)
    np.testing.assert_array_equal(unpack(layer(inputs)).emissions, inputs)


@pytest.mark.parametrize("constraints", ["never", "always"])
def test_one_tag(constraints):
    results = compiled(built(tags=["O"], constraints=constraints))(
        normal(4, 2, 3, WIDTH), np.ones([2, 3], bool), np.zeros([2, 3], "int32")
    )
    np.testing.assert_array_equal(results["decoded"], np.zeros([2, 3]))
    np.testing.assert_array_equal(results["marginals"], np.ones([2, 3, 1]))
    np.testing.assert_allclose(results["log_likelihood"], [0, 0], atol=1e-5)
    np.testing.assert_allclose(results["best"], results["log_partition"], rtol=1e-6)


def test_no_keras_mask_leaves_the_layer():
    inputs = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(9, WIDTH, mask_zero=True)(inputs)
    outputs = CRF(3)(embedded)
    assert getattr(outputs, "_keras_mask", None) is None
    packed = keras.Model(inputs, outputs)(np.array([[1, 2, 0], [3, 0, 0]]))
    np.testing.assert_array_equal(unpack(packed).mask, [[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "units"),
        ({"units": 0}, "units=0"),
        ({"units": 2, "tags": ["O"]}, "units=2 and 1 tags"),
        ({"units": 2, "constraints": "sometimes"}, "'sometimes'.*'decoding'"),
        ({"tags": ["O", "S-X"]}, "'S-X'"),
        ({"tags": ["O"], "scheme": "bilou"}, "'bilou'"),
        ({"tags": ["O", "NOUN"], "constraints": "never"}, "'NOUN'; expected O, B-LABEL, I-LABEL"),
        ({"tags": "O"}, "tags='O'; expected a list"),
        ({"tags": ["I-X"]}, r"\['I-X'\] leave no legal sequence"),
        ({"tags": ["B-X", "I-X", "E-X"], "scheme": "bioes"}, "leave no legal sequence"),
        ({"units": 2, "activity_regularizer": "l2"}, "activity_regularizer='l2'; expected"),
    ],
)
def test_bad_arguments_are_errors_that_show_them(arguments, message):
    with pytest.raises(ValueError, match=message):
        CRF(**arguments)


@pytest.mark.parametrize(
    "shape, arguments",
    [((None, 4), {}), ((None, None, None), {}), ((None, None, 5), {"use_kernel": False})],
)
def test_bad_shapes_are_errors(shape, arguments):
    with pytest.raises(ValueError, match="received"):
        CRF(3, **arguments).build(shape)


def test_without_constraints_the_tags_need_not_allow_a_sequence():
    layer = built(tags=["I-X", "B-X"], scheme="iob1", constraints="never")
    assert unpack(layer(normal(0, 1, 1, WIDTH))).log_partition().shape == [1]


@pytest.mark.parametrize("mask_shape", [(2,), (2, 4), (3, 3), (2, 3, 1)])
def test_a_mask_of_another_shape_is_an_error(mask_shape):
    with pytest.raises(ValueError) as error:
        CRF(3)(np.zeros([2, 3, WIDTH], "float32"), mask=tf.ones(mask_shape, tf.bool))
    assert f"(2, 3, {WIDTH})" in str(error.value) and str(mask_shape) in str(error.value)


@pytest.mark.parametrize("shape", [(2, 4), (2, 5, 1), (2, 2, 4), (2, 5, 4, 1), ()])
def test_unpack_takes_the_output_of_a_crf_alone(shape):
    message = r"Expected the output of a CRF layer .*\[B, N \+ T, N \+ 1\]; received"
    with pytest.raises(ValueError, match=message) as error:
        unpack(tf.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(
    "emissions, mask, transitions",
    [((2, 3), (2, 3), (3, 3)), ((2, 3, 4), (2, 4), (4, 4)), ((2, 3, 4), (2, 3), (3, 3))],
)
def test_potentials_of_wrong_shapes_are_errors(emissions, mask, transitions):
    potentials = Potentials(tf.zeros(emissions), tf.ones(mask, tf.bool), tf.zeros(transitions))
    for ask in (potentials.decode, potentials.marginals, potentials.log_partition):
        with pytest.raises(ValueError, match="Expected emissions.*received shapes") as error:
            ask()
        assert all(str(shape) in str(error.value) for shape in (emissions, mask, transitions))


def test_tags_of_another_shape_or_unknown_ids_are_errors():
    potentials = unpack(built(units=3)(normal(0, 2, 4, WIDTH)))
    with pytest.raises(ValueError, match=r"\(2, 4\); received \(2, 4, 3\)"):
        potentials.log_likelihood(tf.one_hot(tf.zeros([2, 4], tf.int32), 3))
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 2"):
        potentials.log_likelihood(tf.fill([2, 4], 3))


def test_initializers_regularizers_and_constraints_reach_their_weights():
    layer = CRF(
        3,
        chain_initializer="ones",
        boundary_initializer=keras.initializers.Constant(2.0),
        kernel_initializer=keras.initializers.Constant(3.0),
        bias_initializer=keras.initializers.Constant(4.0),
        chain_regularizer=keras.regularizers.L1(1.0),
        kernel_constraint="non_neg",
    )
    layer = CRF.from_config(layer.get_config())
    layer(np.zeros([1, 2, WIDTH], "float32"))
    values = {w.name.split("/")[-1].split(":")[0]: w.numpy() for w in layer.weights}
    means = {name: value.mean() for name, value in values.items()}
    assert means == {
        "kernel": 3, "bias": 4, "transitions": 1, "left_boundary": 2, "right_boundary": 2
    }  # fmt: skip
    np.testing.assert_allclose(sum(layer.losses), 9.0)
    assert type(layer.kernel.constraint).__name__ == "NonNeg"


def test_learns_a_toy_corpus():
    """Each word has one tag, but for I-: which entity it continues depends on the word before."""
    keras.utils.set_random_seed(1)
    tags = SCHEMES["bio"]
    continues = 5
    rng = np.random.default_rng(0)
    words = np.zeros([32, 8], "int32")
    gold = np.zeros([32, 8], "int32")
    for row in range(32):
        for step in range(rng.integers(3, 9)):
            may_continue = step and gold[row, step - 1]
            words[row, step] = rng.choice([1, 2, 3, continues] if may_continue else [1, 2, 3])
            gold[row, step] = {1: 0, 2: 1, 3: 3}.get(
                words[row, step], (gold[row, step - 1] + 1) // 2 * 2
            )
    inputs = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(6, 8, mask_zero=True)(inputs)
    model = keras.Model(inputs, CRF(tags=tags)(embedded))
    model.compile(keras.optimizers.Adam(0.1), CRFLoss(), metrics=[EntityF1(tags)])
    history = model.fit(words, gold, epochs=40, batch_size=32, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 5
    assert model.evaluate(words, gold, verbose=0, return_dict=True)["f1"] == 1.0


def test_answers_are_those_of_enumeration():
    """Against all taggings of a batch with a hole, a short and an empty sentence, by float64."""
    layer = built(units=3, scale=1.5)
    mask = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    gold = np.random.default_rng(5).integers(0, 3, mask.shape).astype("int32")
    inputs = normal(6, 4, 4, WIDTH)
    results = compiled(layer)(inputs, mask, gold)
    emissions, _, transitions = unpack(layer(inputs, mask=mask))
    for row, own in enumerate(mask):
        chain = emissions[row].numpy()[own].astype("float64")
        paths = list(itertools.product(range(3), repeat=len(chain)))
        values = np.array([
            sum(chain[step, tag] for step, tag in enumerate(path))
            + sum(float(transitions[i, j]) for i, j in itertools.pairwise(path))
            for path in paths
        ])  # fmt: skip
        ranked = np.argsort(-values)[:3]
        log_z = np.log(np.exp(values).sum())
        of_gold = values[paths.index(tuple(gold[row, own]))]
        np.testing.assert_allclose(results["log_partition"][row], log_z, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(results["log_likelihood"][row], of_gold - log_z, atol=1e-5)
        np.testing.assert_allclose(results["best"][row], values.max(), rtol=1e-5, atol=1e-6)
        k_tags, k_potentials = (x[row].numpy() for x in results["k_best"])
        np.testing.assert_allclose(
            k_potentials[: len(ranked)], values[ranked], rtol=1e-5, atol=1e-6
        )
        for tags, index in zip(k_tags, ranked, strict=False):
            assert tuple(tags[own]) == paths[index]


def entities(tags):
    """(start, end, label) of the entities of legal tags."""
    found, start = [], None
    for step, tag in enumerate([*tags, "O"]):
        prefix, _, label = tag.partition("-")
        before = tags[step - 1].partition("-") if step else ("O", "", "")
        goes_on = prefix in ("I", "E") and before[0] in ("B", "I") and before[2] == label
        if start is not None and not goes_on:
            found.append((start, step, before[2]))
        if not goes_on:
            start = step if label else None
    return found


@pytest.mark.parametrize("constraints", ["decoding", "never"])
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_span_probability_is_the_share_of_the_taggings_with_that_entity(scheme, constraints):
    tags = ["O"] + [tag for tag in SCHEMES[scheme] if tag.endswith("PER")]
    layer = built(tags=tags, scheme=scheme, constraints=constraints)
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 0, 0, 0]], bool)
    outputs = layer(normal(7, 3, 4, WIDTH), mask=mask)
    potentials = unpack(outputs)
    expected, spans = [], list(itertools.product(range(3), range(-1, 5), range(-1, 6)))
    for row in range(3):
        steps = np.flatnonzero(mask[row])
        paths = np.array(list(itertools.product(range(len(tags)), repeat=len(steps))))
        gold = np.zeros([len(paths), 4], "int32")
        gold[:, steps] = paths
        one = potentials._replace(
            emissions=tf.repeat(potentials.emissions[row : row + 1], len(paths), 0),
            mask=tf.repeat(mask[row : row + 1], len(paths), 0),
        )
        shares = np.exp(one.log_likelihood(gold))
        probability = dict.fromkeys([span for span in spans if span[0] == row], 0.0)
        for path, share in zip(paths, shares, strict=True):
            for start, end, _ in entities([tags[i] for i in path]):
                probability[row, steps[start], steps[end - 1] + 1] += share
        expected += probability.values()
    rows, starts, ends = np.transpose(spans)
    found = layer.span_probability(outputs, rows, starts, ends, "PER")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert max(expected) > 0.1
    one_by_one = layer.span_probability(outputs, rows, starts, ends, ["PER"] * len(rows))
    np.testing.assert_array_equal(one_by_one, found)
    assert layer.span_probability(outputs, [], [], [], "PER").shape == [0]


def test_span_probability_takes_known_labels():
    layer = built(tags=SCHEMES["bio"])
    outputs = layer(normal(0, 1, 3, WIDTH))
    both = layer.span_probability(outputs, [0, 0], [0, 0], [1, 1], ["LOC", "PER"])
    alone = layer.span_probability(outputs, [0], [0], [1], "LOC")
    np.testing.assert_allclose(both[0], alone[0], rtol=1e-6)
    assert both[0] != both[1]
    with pytest.raises(ValueError, match=r"'ORG'; expected one of \['LOC', 'PER'\]"):
        layer.span_probability(outputs, [0], [0], [1], "ORG")
    with pytest.raises(ValueError, match=r"'PER'; expected one of \[\]"):
        CRF(5).span_probability(outputs, [0], [0], [1], ["PER"])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_low_precision_reaches_the_projection_alone(policy):
    weights = built(units=3).get_weights()
    layer = CRF(3, dtype=policy)
    layer.build((None, None, WIDTH))
    layer.set_weights(weights)
    # The projection itself is exact: inputs and kernel of few bits.
    kernel = np.sign(weights[3])
    layer.set_weights([*weights[:3], kernel, weights[4]])
    inputs = np.random.default_rng(0).integers(-2, 3, (2, 300, WIDTH)).astype("float32")
    potentials = unpack(layer(inputs))
    transitions, left, right, _, bias = (w.astype("float32") for w in weights)
    emissions = inputs @ kernel + bias
    emissions[:, 0] += left
    emissions[:, -1] += right
    np.testing.assert_array_equal(potentials.transitions, transitions)
    np.testing.assert_allclose(potentials.emissions, emissions, rtol=1e-6)
    alpha = emissions[:, 0].astype("float64")
    for step in range(1, 300):
        peak = alpha.max(1, keepdims=True)
        moved = np.exp(alpha - peak)[..., None] * np.exp(transitions)
        alpha = peak + np.log(moved.sum(1)) + emissions[:, step]
    log_z = alpha.max(1) + np.log(np.exp(alpha - alpha.max(1, keepdims=True)).sum(1))
    assert potentials.log_partition().dtype == tf.float32
    np.testing.assert_allclose(potentials.log_partition(), log_z, rtol=1e-6)
    inputs = keras.Input([None, WIDTH])
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.01), CRFLoss())
    history = model.fit(normal(1, 4, 5, WIDTH), np.ones([4, 5]), epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_compiled_by_xla_a_training_step_is_the_same():
    words = np.array([[1, 2, 3, 4, 5], [2, 1, 0, 0, 0], [0, 3, 0, 4, 4], [0, 0, 0, 0, 0]])
    gold = np.array([[0, 1, 2, 0, 3], [1, 2, 0, 0, 0], [0, 3, 0, 4, 0], [0, 0, 0, 0, 0]])
    histories = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        layer = CRF(tags=SCHEMES["bio"])
        layer.supports_jit = True
        inputs = keras.Input([5], dtype="int32")
        embedded = keras.layers.Embedding(6, WIDTH, mask_zero=True)(inputs)
        model = keras.Model(inputs, layer(embedded))
        model.compile(keras.optimizers.SGD(0.1), CRFLoss(), jit_compile=jit_compile)
        fit = model.fit(words, gold, batch_size=4, epochs=3, verbose=0)
        histories.append(fit.history["loss"])
        assert model.jit_compile is jit_compile
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-5)
    assert histories[0][2] < histories[0][0]


# In a process of its own: logical devices are made before TensorFlow runs anything.
REPLICAS = """
import keras
import numpy as np
import tensorflow as tf

from kerasner.layers import CRF
from kerasner.losses import CRFLoss
from kerasner.metrics import EntityF1

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tags = ["O", "B-X", "I-X"]
rng = np.random.default_rng(0)
words = rng.integers(1, 9, (8, 6))
words[0, 3:] = words[5, :2] = words[3] = 0
gold = rng.integers(0, 3, (8, 6))


def trained(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input([None], dtype="int32")
        embedded = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
        model = keras.Model(inputs, CRF(tags=tags)(embedded))
        model.compile(keras.optimizers.SGD(0.1), CRFLoss(), metrics=[EntityF1(tags)])
    history = model.fit(words, gold, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    return [history["loss"], history["f1"], *model.get_weights()]


alone = trained(tf.distribute.get_strategy())
for devices in (["/cpu:0"], ["/cpu:0", "/cpu:1"]):
    strategy = tf.distribute.MirroredStrategy(devices)
    assert strategy.num_replicas_in_sync == len(devices)
    for a, b in zip(trained(strategy), alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
print("same")
"""


def test_mirrored_replicas_train_as_one_device():
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True, timeout=300
    )
    assert result.stdout.strip().endswith("same"), result.stderr[-3000:]


def test_tags_have_distinct_names():
    with pytest.raises(ValueError, match=r"Received tags=\['O', 'B-X', 'B-X'\]; expected distinct"):
        CRF(tags=["O", "B-X", "B-X"])
