"""`kerasner.configs`: paths by attribute, with completion."""

import importlib
from pathlib import Path

import pytest

from kerasner import config, configs


def test_every_installed_configuration_is_an_attribute():
    assert dir(configs.ner) == config.names()
    assert "ner" in dir(configs)
    for name in dir(configs.ner):
        path = getattr(configs.ner, name)
        assert isinstance(path, Path)
        assert path.name == f"{name}.json"
        assert config.load(path) == config.load(name) == config.load(str(path))


def test_a_name_can_be_imported():
    module = importlib.import_module("kerasner.configs.ner")
    assert module.ner_conll2003 == configs.ner.ner_conll2003


def test_a_wrong_name_names_the_nearest():
    with pytest.raises(AttributeError, match="'ner_conl2003': did you mean 'ner_conll2003'"):
        configs.ner.ner_conl2003  # noqa: B018
    assert not hasattr(configs.ner, "__file__x")
