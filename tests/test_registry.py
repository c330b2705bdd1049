import functools

import pytest

from kerasner import registry
from kerasner.errors import ConfigError
from kerasner.registry import check_parameters, get, names, parameters, register


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})


class Vocabulary:
    def __init__(self, path, special_tokens=(), *, pad_with_zeros=False):
        self.path = path


class Base:
    def __init__(self, *, name=None, dtype="float32", **kwargs):
        pass


class Layer(Base):
    # As in Keras 3, where this hides the constructor from inspect.signature(cls).
    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)


def glove(path, /, pad_zero=False, **options):
    return path, pad_zero, options


def test_register_returns_the_object_and_get_finds_it():
    assert register("vocab")(Vocabulary) is Vocabulary
    assert register("glove")(glove) is glove
    assert get("vocab") is Vocabulary
    assert get("glove") is glove
    assert names() == ["glove", "vocab"]


def test_registering_the_same_object_twice_is_fine():
    register("vocab")(Vocabulary)
    register("vocab")(Vocabulary)
    assert names() == ["vocab"]


def test_one_class_may_have_two_names():
    register("ner")(Layer)
    register("ner_layer")(Layer)
    assert get("ner") is get("ner_layer") is Layer


def test_another_object_under_a_taken_name_is_refused_and_changes_nothing():
    register("vocab")(Vocabulary)
    with pytest.raises(ConfigError, match=r"'vocab' is already registered for .*Vocabulary"):
        register("vocab")(Layer)
    assert get("vocab") is Vocabulary


def test_a_class_defined_again_replaces_itself():
    def cell():
        class Mine:
            pass

        return register("mine")(Mine)

    first, second = cell(), cell()
    assert first is not second
    assert get("mine") is second


@pytest.mark.parametrize("name", ["", "module:Class", None, Vocabulary])
def test_register_refuses_what_is_no_name(name):
    with pytest.raises(ConfigError, match="received"):
        register(name)


def test_register_refuses_what_is_neither_class_nor_function():
    with pytest.raises(ConfigError, match="takes a class or a function, received"):
        register("partial")(functools.partial(glove, "x"))
    assert names() == []


def test_unknown_name_shows_place_nearest_and_all():
    register("simple_vocab")(Vocabulary)
    register("glove")(glove)
    with pytest.raises(ConfigError) as caught:
        get("simple_vocabb", where="chainer.pipe[3].class_name")
    assert str(caught.value) == (
        "chainer.pipe[3].class_name: unknown class_name 'simple_vocabb': "
        "did you mean 'simple_vocab'? Valid names: glove, simple_vocab"
    )


def test_unknown_name_with_no_near_one_lists_all():
    register("glove")(glove)
    with pytest.raises(ConfigError, match="unknown class_name 'xyz': valid names are glove$"):
        get("xyz")


def test_import_paths_are_never_followed():
    with pytest.raises(ConfigError, match="import path"):
        get("os:system")


@pytest.mark.parametrize("name", [None, 3, ["glove"], {}])
def test_get_refuses_what_is_no_string(name):
    with pytest.raises(ConfigError, match="expected a registered name"):
        get(name)


def test_parameters_of_a_plain_class():
    assert parameters(Vocabulary) == ["path", "special_tokens", "pad_with_zeros"]


def test_parameters_follow_kwargs_to_the_base_class():
    assert parameters(Layer) == ["units", "name", "dtype"]


def test_parameters_stop_where_kwargs_stop():
    class Closed(Layer):
        def __init__(self, width):
            super().__init__(units=width)

    class Inherits(Closed):
        pass

    assert parameters(Closed) == parameters(Inherits) == ["width"]


def test_parameters_of_functions_leave_out_what_no_keyword_reaches():
    assert parameters(glove) == ["pad_zero"]


def test_parameters_of_a_class_without_constructor():
    class Bare:
        pass

    assert parameters(Bare) == []


def test_parameters_of_a_keras_layer():
    keras = pytest.importorskip("keras")

    class Scale(keras.layers.Layer):
        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)

    found = parameters(Scale)
    assert found[0] == "factor"
    assert {"name", "dtype", "trainable"} <= set(found)
    assert not {"self", "args", "kwargs"} & set(found)


def test_check_accepts_right_keys():
    check_parameters(Vocabulary, {"path": "a", "pad_with_zeros": True}, "chainer.pipe[3]")
    check_parameters(Layer, {"units": 3, "name": "x", "in": "y"}, "chainer.pipe[3]", also=["in"])


def test_check_names_place_component_key_nearest_and_all_keys():
    register("simple_vocab")(Vocabulary)
    with pytest.raises(ConfigError) as caught:
        check_parameters(
            Vocabulary, {"path": "a", "pad_with_zero": True}, "chainer.pipe[3]", also=["in", "out"]
        )
    assert str(caught.value) == (
        "chainer.pipe[3] (simple_vocab): unknown key 'pad_with_zero': did you mean "
        "'pad_with_zeros'? Valid keys: path, special_tokens, pad_with_zeros, in, out"
    )


def test_check_does_not_let_kwargs_swallow_a_key():
    with pytest.raises(ConfigError, match="unknown key 'pad_zeroo': did you mean 'pad_zero'"):
        check_parameters(glove, {"pad_zeroo": True}, "chainer.pipe[0]")


def test_check_names_every_missing_key():
    def both(path, dim, seed=0):
        return path, dim, seed

    register("both")(both)
    with pytest.raises(ConfigError) as caught:
        check_parameters(both, {"seed": 1}, "dataset_reader")
    assert str(caught.value) == (
        "dataset_reader (both): missing required key 'path', 'dim'. Valid keys: path, dim, seed"
    )


def test_check_labels_an_unregistered_component_by_its_own_name():
    with pytest.raises(ConfigError, match=r"chainer\.pipe\[1\] \(Vocabulary\): missing .*'path'"):
        check_parameters(Vocabulary, {}, "chainer.pipe[1]")
