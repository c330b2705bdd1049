"""From the installed configuration to a pipeline, and what is said about a wrong one."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from kerasner import config as configuration
from kerasner.chainer import Chainer
from kerasner.errors import ArchiveError, ConfigError

DATA = {
    "x": tf.constant(["Ivo", "lives", "in", "Lund", "since", "1996"]),
    "y": tf.constant(["B-PER", "O", "O", "B-LOC", "O", "O"]),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The group "chainer" of ner_conll2003, with few units and vectors."""
    vectors = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    vectors.write_text("lives 1 0\nin 0 1\nlund 1 1\n")
    settings = [
        f"chainer.pipe.glove.load_path={vectors}",
        "chainer.pipe.ner.n_hidden_list=[2]",
        "chainer.pipe.ner.char_filters=2",
    ]
    loaded = configuration.override(configuration.load("ner_conll2003"), settings)
    return configuration.resolve(loaded)["chainer"]


@pytest.fixture(scope="module")
def chainer(config):
    return Chainer(config, data=DATA)


def test_tokens_become_inputs_of_the_network(chainer):
    inputs = chainer.encode(tf.constant(["Lund", "lives", "Oslo", ""]))
    assert set(inputs) == {"words", "chars", "cap"}
    words = inputs["words"].numpy()
    assert len(set(words[:3])) == 3
    assert words[2] == 1  # unknown
    assert inputs["chars"].shape[0] == inputs["cap"].shape[0] == 4
    packed = chainer.network({name: value[None] for name, value in inputs.items()})
    assert packed.shape == (1, 3 + 4, 3 + 1)


def test_numbers_share_their_vector(chainer):
    words = chainer.encode(tf.constant(["1996", "2021", "19"]))["words"].numpy()
    assert words[0] == words[1]


def test_no_tokens_at_all(chainer):
    for value in chainer.encode(tf.constant([], tf.string)).values():
        assert value.shape[0] == 0


def test_tags_are_those_of_the_data(chainer):
    assert chainer.network.tags == ["O", "B-PER", "B-LOC"] or chainer.network.tags == [
        "O",
        "B-LOC",
        "B-PER",
    ]
    ids = chainer.tag_vocab(tf.constant(chainer.network.tags))
    assert ids.numpy().tolist() == [0, 1, 2]


def test_vocabularies_come_back(chainer, config, tmp_path):
    chainer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "char_vocab.txt",
        "glove_emb.npz",
        "glove_emb.txt",
        "tag_vocab.txt",
    ]
    loaded = Chainer(config, folder=tmp_path)
    tokens = tf.constant(["Lund", "lives", "Oslo", "1996", "\U0001f600"])
    expected = chainer.encode(tokens)
    for name, value in loaded.encode(tokens).items():
        np.testing.assert_array_equal(value, expected[name])
    assert loaded.network.tags == chainer.network.tags
    (tmp_path / "tag_vocab.txt").unlink()
    with pytest.raises(ArchiveError, match="tag_vocab.txt"):
        Chainer(config, folder=tmp_path)


def test_layers_of_the_text_are_those_that_encode_uses(chainer):
    assert all(chainer.tag_vocab.lookup is not layer for layer in chainer.text_layers)
    assert any(chainer.embedder.lookup is layer for layer in chainer.text_layers)
    assert len(chainer.text_layers) == 6  # lower, sanitizer, splitter, characters, words, capitals


def test_the_component_of_word_vectors(chainer):
    assert chainer.embedder.embedding is chainer.network.token_embedding
    assert chainer.embedder.vectors.words == ["lives", "in", "lund"]


def test_either_data_or_a_folder(config, tmp_path):
    for arguments in ({}, {"data": DATA, "folder": tmp_path}):
        with pytest.raises(ValueError, match="either data to fit on or a folder"):
            Chainer(config, **arguments)


REMOVED = object()
TOKENIZER, LOWER, TAGS, CHARS, GLOVE, NER, REF = 0, 1, 3, 5, 6, 8, 9


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["in"], REMOVED, "chainer.in: expected a name or a list of names, received None"),
        (["in_y"], [], r"chainer.in_y: expected a name or a list of names, received \[\]"),
        (["out"], ["tagz"], "chainer.out: nothing before it produces 'tagz': did you mean 'tags'"),
        (["pipe"], REMOVED, "chainer.pipe: expected a list of objects, received None"),
        (["pipe", LOWER], "str_lower", "chainer.pipe: expected a list of objects"),
        (["pipe", LOWER, "class_name"], "str_lowr", r"pipe\[1\].class_name: .*mean 'str_lower'"),
        (["pipe", LOWER, "class_name"], REMOVED, r"pipe\[1\]: expected class_name or ref"),
        (["pipe", LOWER, "in"], ["x_tokns"], r"pipe\[1\].in: nothing .*did you mean 'x_tokens'"),
        (["pipe", LOWER, "in"], REMOVED, r"pipe\[1\].in: expected a name or a list of names"),
        (["pipe", LOWER, "in"], ["x", "y"], r"pipe\[1\]: "),
        (["pipe", LOWER, "out"], REMOVED, r"pipe\[1\].out: expected a name or a list of names"),
        (["pipe", LOWER, "out"], ["a", "b"], r"pipe\[1\].out: expected one name, received"),
        (["pipe", LOWER, "lowr"], 1, r"pipe\[1\] \(str_lower\): unknown key 'lowr'"),
        (["pipe", TOKENIZER, "mode"], "trebank", r"pipe\[0\] \(lazy_tokenizer\): .*trebank"),
        (["pipe", TAGS, "fit_on"], REMOVED, r"pipe\[3\]: needs fit_on"),
        (["pipe", TAGS, "fit_on"], ["z"], r"pipe\[3\].fit_on: nothing before it produces 'z'"),
        (["pipe", CHARS, "id"], "../../chars", r"pipe\[5\].id: expected a name of its own"),
        (["pipe", CHARS, "id"], "weights", r"pipe\[5\].id: expected a name of its own"),
        (["pipe", CHARS, "id"], "tag_vocab", r"pipe\[5\].id: expected a name of its own"),
        (["pipe", CHARS, "fit_on"], ["y_ind"], r"pipe\[5\]: "),
        (["pipe", GLOVE, "max_words"], 0, r"pipe\[6\]: max_words must be at least 1"),
        (["pipe", GLOVE, "load_path"], "#tag_vocab._folder", "has no attribute '_folder'"),
        (
            ["pipe", GLOVE, "load_path"],
            "#tag_vocb.len",
            "unknown id 'tag_vocb': did you mean 'tag_vocab'",
        ),
        (["pipe", NER, "n_hidden_list"], [], r"pipe\[8\]: .*empty n_hidden_list"),
        (["pipe", NER, "in"], ["x_char_ind"], r"pipe\[8\].in: expected an output of a component"),
        (["pipe", NER, "in"], ["x_emb", "x"], r"pipe\[8\]: "),
        (["pipe", NER], REMOVED, r"pipe\[8\].in: nothing before it produces 'y_predicted'"),
        (["pipe", REF, "ref"], "tag_vocb", "unknown id 'tag_vocb': did you mean 'tag_vocab'"),
        (["pipe", REF, "ref"], ["tag_vocab"], r"pipe\[9\].ref: unknown id"),
    ],
)
def test_a_wrong_pipeline_is_refused_in_one_line(config, path, value, expected):
    wrong = copy.deepcopy(config)
    *parents, last = path
    place = wrong
    for key in parents:
        place = place[key]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(ConfigError, match=expected):
        Chainer(wrong, data=DATA)


def test_attributes_of_other_components_can_be_named(config, chainer):
    # Not useful, but a number: the size of the vocabulary of tags.
    named = copy.deepcopy(config)
    named["pipe"][NER]["char_filters"] = "#tag_vocab.len"
    inputs = chainer.encode(tf.constant(["Lund"]))["chars"]
    network = Chainer(named, data=DATA).network
    assert network.char_features(inputs).shape == (1, chainer.tag_vocab.len)
