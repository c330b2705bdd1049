"""From the installed configuration to a pipeline, and what is said about a wrong one."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from kerasner import config as configuration
from kerasner.chainer import Chainer
from kerasner.errors import ArchiveError, ConfigError
from kerasner.registry import register

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
        (["out"], ["tagz"], "chainer.out: nothing produces 'tagz': did you mean 'tags'"),
        (["pipe"], REMOVED, "chainer.pipe: expected a list of objects, received None"),
        (["pipe", LOWER], "str_lower", "chainer.pipe: expected a list of objects"),
        (["pipe", LOWER, "class_name"], "str_lowr", r"pipe\[1\].class_name: .*mean 'str_lower'"),
        (["pipe", LOWER, "class_name"], REMOVED, r"pipe\[1\]: expected class_name, ref or"),
        (["pipe", LOWER, "in"], ["x_tokns"], r"pipe\[1\].in: nothing .*did you mean 'x_tokens'"),
        (["pipe", LOWER, "in"], REMOVED, r"pipe\[1\].in: expected a name or a list of names"),
        (["pipe", LOWER, "in"], ["x", "y"], r"pipe\[1\]: "),
        (["pipe", LOWER, "out"], REMOVED, r"pipe\[1\].out: expected a name or a list of names"),
        (["pipe", LOWER, "out"], ["x_lower", "b"], r"pipe\[1\].out: .* returns 1 values; rec"),
        (["pipe", LOWER, "lowr"], 1, r"pipe\[1\] \(str_lower\): unknown key 'lowr'"),
        (["pipe", TOKENIZER, "mode"], "trebank", r"pipe\[0\] \(lazy_tokenizer\): .*trebank"),
        (["pipe", TAGS, "fit_on"], ["z"], r"pipe\[3\].fit_on: nothing before it produces 'z'"),
        (["pipe", CHARS, "id"], "../../chars", r"pipe\[5\].id: expected a name of its own"),
        (["pipe", CHARS, "id"], "weights", r"pipe\[5\].id: expected a name of its own"),
        (["pipe", CHARS, "id"], "tag_vocab", r"pipe\[5\].id: expected a name of its own"),
        (["pipe", CHARS, "fit_on"], ["y_ind"], r"pipe\[5\]: "),
        (["pipe", GLOVE, "max_words"], 0, r"pipe\[6\]: glove: max_words: expected 1 or more"),
        (["pipe", GLOVE, "load_path"], "#tag_vocab._folder", "has no attribute '_folder'"),
        (
            ["pipe", GLOVE, "load_path"],
            "#tag_vocb.len",
            "unknown id 'tag_vocb': did you mean 'tag_vocab'",
        ),
        (["pipe", NER, "n_hidden_list"], [], r"pipe\[8\]: .*n_hidden_list=\[\]; expected the un"),
        (["pipe", NER, "in"], ["x_char_ind"], r"pipe\[8\].in: expected word ids"),
        (["pipe", NER, "in"], ["x_emb", "x"], r"pipe\[8\].in: .*floats \[N, K\]"),
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


def entry(**settings):
    return {key.removesuffix("_"): value for key, value in settings.items()}


def changed(config, *entries, at=2, **ner):
    """The pipe with further entries, and other settings of `ner`."""
    result = copy.deepcopy(config)
    result["pipe"][NER].update(ner)
    result["pipe"][at:at] = entries
    return result


def test_a_variable_may_be_given_anew(config):
    again = changed(config)
    for step in again["pipe"]:
        for key in ("in", "out", "fit_on"):
            step.update({key: ["x" if n == "x_tokens" else n for n in step.get(key, [])] or []})
            if not step[key]:
                del step[key]
    again["out"] = ["x", "tags"]
    assert set(Chainer(again, data=DATA).encode(tf.constant(["a"]))) == {"words", "chars", "cap"}


def test_what_the_network_does_not_need_is_not_computed(config):
    more = changed(config, entry(class_name="str_lower", in_=["x_san"], out=["x_more"]), at=3)
    more["pipe"][3]["in"] = ["x_san"]
    chainer = Chainer(more, data=DATA)
    assert len(chainer.text_layers) == 6


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            [entry(class_name="str_lower", in_=["tags"], out=["a"])],
            r"pipe\[2\].in: 'tags' is produced only by chainer.pipe\[10\]",
        ),
        (
            [entry(ref="char_vocab", in_=["x"], out=["a"])],
            r"pipe\[2\].ref: 'char_vocab' is the id of chainer.pipe\[6\]; an entry may only",
        ),
        (
            [entry(ref="b", id="a", in_=["x"], out=["p"]), entry(ref="a", id="b", in_=["x"],
                                                                 out=["q"])],
            r"pipe\[2\].ref: a cycle of references: chainer.pipe\[2\] -> chainer.pipe\[3\] -> "
            r"chainer.pipe\[2\]",
        ),
        ([entry(class_name="mask", in_=["x"])], r"pipe\[2\].out: expected a name or a list"),
        (
            [entry(class_name="mask", in_=["x"], out={"a": "b"})],
            r"pipe\[2\].out: expected a name or a list of different names, received {'a': 'b'}",
        ),
        (
            [entry(class_name="mask", in_=["x"], out=["a"]),
             entry(class_name="mask", in_=["x"], out=5)],
            r"pipe\[3\].out: expected a name or a list of names, received 5",
        ),
        (
            [entry(class_name="mask", in_=["x"], out=["a", "a"])],
            r"pipe\[2\].out: expected a name or a list of different names",
        ),
        ([entry(class_name="simple_vocab")], r"pipe\[2\]: needs fit_on"),
        ([entry(ref="tag_vocab", lower=1)], r"pipe\[2\] \(ref\): unknown key 'lower'"),
    ],
)  # fmt: skip
def test_wrong_order_and_references(config, entries, expected):
    with pytest.raises(ConfigError, match=expected):
        Chainer(changed(config, *entries), data=DATA)


@register("test_joined")
class Joined:
    """Two strings a token to one."""

    def __init__(self, separator: str = ""):
        self.separator = separator

    def __call__(self, first, second):
        return tf.strings.join([first, second], self.separator)


@register("test_lengths")
def lengths(tokens, scale=1.0):
    return tf.cast(tf.strings.length(tokens), tf.float32)[:, None] * scale


@pytest.mark.parametrize(
    ("entries", "name", "expected"),
    [
        # What the network takes by such a name, no feature could have.
        ([entry(class_name="test_lengths", in_=["x"], out=["words"])], "words", "another name"),
        ([entry(class_name="test_lengths", in_=["x"], out=["chars"])], "chars", "another name"),
        (
            [entry(class_name="simple_vocab", in_=["x"], fit_on=["x"], out=["other"])],
            "other",
            "one input of character ids, received 'x_char_ind' and 'other'",
        ),
    ],
)
def test_inputs_that_the_network_would_take_for_others(config, entries, name, expected):
    wrong = changed(config, *entries)
    wrong["pipe"][NER + 1]["in"].append(name)
    with pytest.raises(ConfigError, match=rf"^chainer.pipe\[9\].in: .*{expected}"):
        Chainer(wrong, data=DATA)


def test_word_ids_are_no_character_ids(config):
    wrong = copy.deepcopy(config)
    wrong["pipe"][CHARS].update({"in": ["x"], "fit_on": ["x"]})
    with pytest.raises(ConfigError, match=r"'x_char_ind' to be ids of characters \[N, C\]"):
        Chainer(wrong, data=DATA)


def test_no_id_is_the_name_of_an_entry_without_one(config, tmp_path):
    more = changed(
        config,
        entry(class_name="simple_vocab", id="simple_vocab_3", in_=["x"], fit_on=["x"], out=["a"]),
        entry(class_name="simple_vocab", in_=["x"], fit_on=["x"], out=["b"]),
    )
    Chainer(more, data=DATA).save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


@register("test_vectors")
class Vectors(tf.Module):
    """Word vectors of a user's own."""

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(np.eye(4, dtype="float32"), trainable=False)

    def __call__(self, tokens):
        return tf.gather(self.table, tf.strings.length(tokens) % 4)


def test_inputs_by_keyword(config):
    joined = entry(
        class_name="test_joined", separator="+", in_={"second": "x", "first": "x_lower"},
        out="x_joined",
    )  # fmt: skip
    own = changed(config, joined)
    own["pipe"][CHARS]["in"] = ["x_joined"]  # the char_splitter, one further down
    assert Chainer(own, data=DATA).encode(tf.constant(["Ab"]))["chars"].shape == (1, 5)


def test_components_of_ones_own(config):
    own = changed(config, entry(class_name="test_lengths", scale=2.0, in_=["x"], out=["size"]))
    own["pipe"][NER + 1]["in"].append("size")
    chainer = Chainer(own, data=DATA)
    assert chainer.encode(tf.constant(["Lund"]))["size"].numpy().tolist() == [[8.0]]


def test_word_vectors_of_ones_own(config):
    own = changed(config, entry(class_name="test_vectors", in_=["x"], out=["own"]))
    own["pipe"][NER + 1]["in"] = ["own", "x_char_ind"]
    chainer = Chainer(own, data=DATA)
    inputs = chainer.encode(tf.constant(["ab", "c"]))
    assert inputs["words"].numpy().tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert inputs["mask"].numpy().tolist() == [1, 1]
    assert any(isinstance(layer, Vectors) for layer in chainer.text_layers)


def test_a_parameter_may_be_a_component(config):
    nested = changed(
        config, entry(class_name="test_holder", inner=entry(class_name="test_joined"),
                      in_=["x"], out=["a"]),
    )  # fmt: skip
    Chainer(nested, data=DATA)


def test_a_parameter_cannot_be_fitted(config):
    inner = entry(class_name="simple_vocab")
    nested = changed(config, entry(class_name="test_holder", inner=inner, in_=["x"], out=["a"]))
    with pytest.raises(ConfigError, match="inner: 'simple_vocab' is fitted to the data; expected"):
        Chainer(nested, data=DATA)


@register("test_holder")
class Holder:
    def __init__(self, inner):
        assert isinstance(inner, Joined)
        self.inner = inner

    def __call__(self, tokens):
        return self.inner(tokens, tokens)


def test_a_mask_is_taken_from_the_ids(config):
    masked = changed(config, entry(class_name="mask", in_=["x_tokens"], out=["mask"]))
    masked["pipe"][NER + 1]["in"].insert(1, "mask")
    assert set(Chainer(masked, data=DATA).encode(tf.constant(["a"]))) == {"words", "chars", "cap"}


def test_a_second_input(config):
    pos = changed(
        config,
        entry(class_name="simple_vocab", id="pos_vocab", in_=["pos"], out=["pos_ind"]),
        entry(class_name="test_one_hot", depth="#pos_vocab.len", in_=["pos_ind"], out=["pos_hot"]),
    )
    pos["in"] = ["x", "pos"]
    pos["pipe"][NER + 2]["in"].append("pos_hot")
    tags = tf.constant(["NNP", "VBZ", "IN", "NNP", "IN", "CD"])
    chainer = Chainer(pos, data={**DATA, "pos": tags})
    inputs = chainer.encode(tf.constant(["Lund"]), tf.constant(["NNP"]))
    assert inputs["pos_hot"].shape == (1, 4 + 2)
    assert chainer.inputs == ["x", "pos"]


@register("test_one_hot")
class OneHot:
    def __init__(self, depth):
        self.depth = depth

    def __call__(self, ids):
        return tf.one_hot(ids, self.depth)
