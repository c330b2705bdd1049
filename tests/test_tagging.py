"""The serving graph against brute force, and its handling of chunks."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import bio
from kerasner.layers import SentenceSplitter, Tokenizer
from kerasner.network import NerNetwork
from kerasner.tagging import TaggingGraph, _substrings

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = ["O", "B-PER", "I-PER", "E-PER", "S-PER"]
IO = ["O", "PER", "LOC"]
WORDS = ["a", "b", "c", "d", "e", "."]

check = settings(deadline=None, derandomize=True, max_examples=20)


@functools.cache
def network(tags: tuple[str, ...] = tuple(BIO), scheme="bio", constraints="decoding") -> NerNetwork:
    """Untrained, with potentials so large that chains and constraints matter."""
    embedding = keras.layers.Embedding(len(WORDS) + 2, 4)
    result = NerNetwork(tags, embedding, n_hidden_list=[3], scheme=scheme, constraints=constraints)
    result({"words": tf.constant([[1]])})
    random = np.random.default_rng(11)
    for weight in result.trainable_weights:
        weight.assign(random.normal(size=weight.shape))
    result.crf.transitions.assign(random.normal(size=[len(tags), len(tags)], scale=1.5))
    result.crf.kernel.assign(random.normal(size=result.crf.kernel.shape, scale=6.0))
    return result


@functools.cache
def lookup() -> keras.layers.StringLookup:
    return keras.layers.StringLookup(vocabulary=WORDS, mask_token="")


def encode(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"words": tf.cast(lookup()(tokens), tf.int32)}


class CheckedGraph(TaggingGraph):
    """Fails where an empty row, more than the budget or a token twice gets to the network."""

    def _tag_rows(self, features, places, lengths, mask):
        rows, width, n_features = tf.shape(mask)[0], tf.shape(mask)[1], tf.shape(features)[0]
        fits = tf.reduce_all([rows * width <= self._token_budget])
        checks = [
            tf.debugging.assert_positive(rows),
            tf.debugging.assert_positive(lengths),
            tf.debugging.assert_equal(tf.reduce_max(lengths), width),
            tf.debugging.Assert(fits | (rows == 1), [rows, width]),
            tf.debugging.assert_equal(tf.size(tf.unique(tf.reshape(places, [-1]))[0]), n_features),
        ]
        with tf.control_dependencies(checks):
            return super()._tag_rows(tf.identity(features), places, lengths, mask)


@functools.cache
def graph(net: NerNetwork | None = None, **settings) -> TaggingGraph:
    split = Tokenizer("whitespace"), SentenceSplitter()
    return CheckedGraph(net or network(), encode, [lookup()], *split, **settings)


def sequences(net: NerNetwork, words: list[str]) -> dict[tuple[str, ...], float]:
    """Probability of every tag sequence of one sentence, from the weights alone."""
    features = net.token_features(encode(tf.constant(words)), training=False)[None]
    states = net.encoder_layers[0](features, training=False)[0].numpy().astype(np.float64)
    crf = {
        name: tf.convert_to_tensor(getattr(net.crf, name)).numpy().astype(np.float64)
        for name in ("kernel", "bias", "transitions", "left_boundary", "right_boundary")
    }
    emissions = states @ crf["kernel"] + crf["bias"]
    emissions[0] += crf["left_boundary"]
    emissions[-1] += crf["right_boundary"]
    potentials = {}
    for path in itertools.product(range(len(net.tags)), repeat=len(words)):
        tags = tuple(net.tags[i] for i in path)
        if legal(tags, net.scheme):
            emitted = sum(emissions[t, tag] for t, tag in enumerate(path))
            moved = sum(crf["transitions"][a, b] for a, b in itertools.pairwise(path))
            potentials[tags] = np.exp(emitted + moved)
    total = sum(potentials.values())
    return {tags: potential / total for tags, potential in potentials.items()}


def legal(tags: tuple[str, ...], scheme: str) -> bool:
    """Whether every entity is begun, and in BIOES ended, as the scheme has it."""
    if scheme == "io":
        return True
    for before, after in itertools.pairwise(("O", *tags, "O")):
        goes_on = after[0] in "IE"
        if goes_on and not (before[0] in "BI" and before[2:] == after[2:]):
            return False
        if scheme == "bioes" and before[0] in "BI" and not goes_on:
            return False
    return True


def as_bio(tags: tuple[str, ...]) -> list[str]:
    if set(tags) <= set(IO):
        return bio.in_bio([tags], "io")[0]
    return [tag.replace("S-", "B-").replace("E-", "I-") for tag in tags]


@pytest.mark.parametrize(
    ("tags", "scheme", "constraints"),
    [
        (BIO, "bio", "decoding"),
        (BIO, "bio", "always"),
        (BIOES, "bioes", "decoding"),
        (IO, "io", "decoding"),
    ],
)
def test_tags_and_scores_are_those_of_brute_force(tags, scheme, constraints):
    net = network(tuple(tags), scheme, constraints)
    tagging = graph(net)
    sentences = [list(words) for words in ("a", "b", "ac", "dd", "cab", "bbd", "eda", "abdc")]
    sentences += [list(words) for words in ("caed", "eecbd", "dabad")]
    width = max(map(len, sentences))
    padded = [words + [""] * (width - len(words)) for words in sentences]
    tagged = {k: v.numpy() for k, v in tagging.tokens(tf.constant(padded)).items()}
    texts = [" ".join(words) for words in sentences]
    found = {k: v.numpy() for k, v in tagging.entities(tf.constant(texts)).items()}
    labels = set()
    for row, words in enumerate(sentences):
        probabilities = sequences(net, words)
        best = max(probabilities, key=probabilities.get)
        assert [t.decode() for t in tagged["tags"][row, : len(words)]] == as_bio(best)
        marginals = [
            sum(p for path, p in probabilities.items() if path[t] == best[t])
            for t in range(len(words))
        ]
        np.testing.assert_allclose(
            tagged["scores"][row, : len(words)], marginals, rtol=1e-4, atol=1e-6
        )
        entities = bio.entities(as_bio(best))
        count = found["counts"][row]
        assert count == len(entities)
        assert [label.decode() for label in found["labels"][row, :count]] == [
            label for label, *_ in entities
        ]
        expected = [
            sum(p for path, p in probabilities.items() if entity in bio.entities(as_bio(path)))
            for entity in entities
        ]
        np.testing.assert_allclose(found["scores"][row, :count], expected, rtol=1e-4, atol=1e-6)
        labels.update((label, end - start) for label, start, end in entities)
    lengths = {length for _, length in labels}
    assert min(lengths) == 1 < max(lengths)  # the sentences held what is to be tested


@check
@given(
    st.lists(st.lists(st.sampled_from([*WORDS, "", "?"]), max_size=12), max_size=9),
    st.sampled_from([1, 7]),
)
def test_chunks_of_any_budget_give_the_same_answers(rows, budget):
    width = max(map(len, rows), default=0)
    flat = [token for row in rows for token in row + [""] * (width - len(row))]
    tokens = tf.constant(flat, tf.string, shape=[len(rows), width])
    texts = tf.constant([" ".join(row) for row in rows], tf.string)
    for function, inputs in (("tokens", tokens), ("text", texts), ("entities", texts)):
        expected = getattr(graph(token_budget=10**6), function)(inputs)
        result = getattr(graph(token_budget=budget), function)(inputs)
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            if name == "scores":
                np.testing.assert_allclose(result[name], value, rtol=0, atol=1e-5)
            else:
                np.testing.assert_array_equal(result[name], value)


def test_a_budget_smaller_than_a_sentence_takes_it_alone():
    tokens = tf.constant([["a", "b", "c", "d"], ["a", "", "", ""], ["", "", "", ""]])
    outputs = graph(token_budget=1).tokens(tokens)
    assert outputs["lengths"].numpy().tolist() == [4, 1, 0]
    assert (outputs["tags"].numpy() != b"").tolist() == (tokens.numpy() != b"").tolist()


def test_potentials_of_any_range_leave_the_other_rows_alone():
    """Where a row's potentials are extreme, the recursions of its chunk are others."""
    net = NerNetwork(BIO, keras.layers.Embedding(len(WORDS) + 2, 4), n_hidden_list=[3])
    net({"words": tf.constant([[1]])})
    random = np.random.default_rng(5)
    for weight in net.trainable_weights:
        weight.assign(random.normal(size=weight.shape, scale=2.0))
    net.crf.kernel.assign(random.normal(size=net.crf.kernel.shape, scale=12.0))
    tagging = graph(net)
    alone = [tagging.text(tf.constant([word]))["scores"].numpy()[0, 0] for word in WORDS]
    together = tagging.text(tf.constant([*WORDS, " ".join(WORDS * 9)]))["scores"].numpy()
    np.testing.assert_allclose(together[:-1, 0], alone, rtol=0, atol=1e-5)
    assert np.isfinite(together).all()


@check
@given(st.lists(st.text(max_size=8), max_size=4), st.data())
def test_substrings_are_those_of_python(texts, data):
    spans = []
    for row, text in enumerate([*texts, "\0\ufdd0é👩"]):
        borders = st.integers(0, len(text))
        for start, end in data.draw(st.lists(st.tuples(borders, borders), max_size=3)):
            spans.append((row, min(start, end), max(start, end)))
    texts = [*texts, "\0\ufdd0é👩"]
    rows, starts, ends = np.array(spans, np.int32).reshape(-1, 3).T
    cut = _substrings(tf.constant([text.encode() for text in texts]), rows, starts, ends)
    expected = [texts[row][start:end].encode() for row, start, end in spans]
    assert cut.numpy().tolist() == expected


def test_substrings_of_no_text():
    nothing = tf.zeros([0], tf.int32)
    assert _substrings(tf.zeros([0], tf.string), nothing, nothing, nothing).shape == (0,)


def softmax_network() -> NerNetwork:
    """Tags that know nothing of each other."""
    embedding = keras.layers.Embedding(len(WORDS) + 2, 4)
    net = NerNetwork(BIO, embedding, n_hidden_list=[3], use_crf=False)
    net({"words": tf.constant([[1]])})
    random = np.random.default_rng(3)
    for weight in net.trainable_weights:
        weight.assign(random.normal(size=weight.shape, scale=2.0))
    return net


def test_without_a_crf_scores_are_those_of_softmax():
    net = softmax_network()
    words = list("abcdeabdcebbadec")
    features = net.token_features(encode(tf.constant(words)), training=False)[None]
    packed = net.tag_potentials(features, tf.ones([1, len(words)], tf.bool), training=False)
    probabilities = tf.nn.softmax(packed[0, len(BIO) :, : len(BIO)]).numpy()
    best = [BIO[i] for i in probabilities.argmax(-1)]
    assert best != bio.iob1_to_bio(best)  # an I- that continues nothing is among them
    tagging = TaggingGraph(net, encode, [lookup()], Tokenizer("whitespace"), SentenceSplitter())
    tagged = tagging.tokens(tf.constant([words]))
    tags = [tag.decode() for tag in tagged["tags"].numpy()[0]]
    assert tags == bio.iob1_to_bio(best)
    np.testing.assert_allclose(tagged["scores"][0], probabilities.max(-1), rtol=1e-5)
    found = {k: v.numpy()[0] for k, v in tagging.entities(tf.constant([" ".join(words)])).items()}
    entities = bio.entities(best)
    assert [label.decode() for label in found["labels"]] == [label for label, *_ in entities]
    products = [probabilities.max(-1)[start:end].prod() for _, start, end in entities]
    np.testing.assert_allclose(found["scores"], products, rtol=1e-5)


def test_further_inputs_stand_beside_the_tokens():
    net = NerNetwork(BIO, keras.layers.Embedding(len(WORDS) + 2, 4), n_hidden_list=[3])
    shapes = {"words": tf.constant([[1]]), "pos": tf.zeros([1, 1, 2])}
    net(shapes)
    random = np.random.default_rng(3)
    for weight in net.trainable_weights:
        weight.assign(random.normal(size=weight.shape, scale=2.0))

    def encode_both(tokens, pos):
        flags = tf.stack([pos == "N", pos == "V"], axis=-1)
        return {**encode(tokens), "pos": tf.cast(flags, tf.float32) * 9.0}

    split = Tokenizer("whitespace"), SentenceSplitter()
    tagging = TaggingGraph(net, encode_both, [lookup()], *split, further_inputs=["pos"])
    assert list(tagging.signatures) == ["tokens"] and not hasattr(tagging, "text")
    tokens = tf.constant([["a", "a", "a"], ["a", "", ""]])
    pos = tf.constant([["N", "V", "X"], ["V", "", ""]])
    scores = tagging.tokens(tokens, pos)["scores"].numpy()
    swapped = tagging.tokens(tokens[::-1], pos[::-1])["scores"].numpy()
    np.testing.assert_allclose(scores, swapped[::-1], atol=1e-6)
    alone = tagging.tokens(tf.constant([["a"]]), tf.constant([["N"]]))["scores"].numpy()
    assert abs(alone[0, 0] - scores[1, 0]) > 1e-3  # another part of speech, another score
