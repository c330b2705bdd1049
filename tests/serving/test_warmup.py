"""The requests that warm a server up, replayed as TensorFlow Serving does."""

import pytest
import tensorflow as tf
from contract import ENTITY_DTYPES, TEXT_DTYPES, TOKEN_DTYPES, assert_table, replay

from kerasner.serving import warmup
from kerasner.serving.export import export
from kerasner.serving.tensors import to_array

TABLES = {
    "serving_default": (TEXT_DTYPES, "lengths"),
    "tokens": (TOKEN_DTYPES, "lengths"),
    "entities": (ENTITY_DTYPES, "counts"),
}


@pytest.fixture(scope="module")
def exported(tagger, tmp_path_factory):
    return export(tagger, tmp_path_factory.mktemp("exported") / "small", version=1)


@pytest.fixture(scope="module")
def replayed(exported):
    return replay(exported, tf.saved_model.load(str(exported)))


def test_every_signature_answers_every_request(replayed):
    names = [request.model_spec.signature_name for request, _ in replayed]
    assert {name: names.count(name) for name in names} == dict.fromkeys(TABLES, 4)
    for request, answer in replayed:
        assert request.model_spec.name == "small"
        dtypes, counts = TABLES[request.model_spec.signature_name]
        (rows,) = {array.shape[0] for array in map(to_array, request.inputs.values())}
        width = None
        if "tokens" in request.inputs:
            width = to_array(request.inputs["tokens"]).shape[1]
        assert_table(answer, dtypes, rows, counts, width)
        assert answer[counts].any() or counts == "counts"


def test_lengths_are_representative(replayed):
    """A sentence, a batch of short texts of unequal lengths, a paragraph, a long document."""
    lengths = [
        answer["lengths"].tolist()
        for request, answer in replayed
        if request.model_spec.signature_name == "serving_default"
    ]
    assert [len(rows) for rows in lengths] == [1, 32, 1, 1]
    sentence, short, paragraph, document = lengths
    assert 5 < sentence[0] < 20
    assert len(set(short)) > 3 and max(short) < 50
    assert 50 < paragraph[0] < 100
    assert document[0] > 1000
    tokens = [
        int(answer["lengths"].sum())
        for request, answer in replayed
        if request.model_spec.signature_name == "tokens"
    ]
    assert tokens == pytest.approx([sum(rows) for rows in lengths], rel=0.2)


def test_the_file_is_small(exported):
    assert (exported / "assets.extra" / warmup.FILE).stat().st_size < 100_000


def test_the_texts_are_in_the_language_of_the_model():
    def first(language):
        request = next(warmup.requests("model", {"entities": ["text"]}, language))
        return to_array(request.inputs["text"])[0].decode()

    assert "moved from Oslo" in first("en") == first("fi")
    assert "переехала из Осло" in first("ru")


def test_further_inputs_are_as_long_as_the_tokens():
    requests = list(warmup.requests("model", {"tokens": ["tokens", "pos"]}, "en"))
    assert len(requests) == 4
    for request in requests:
        tokens, pos = to_array(request.inputs["tokens"]), to_array(request.inputs["pos"])
        assert tokens.shape == pos.shape
        assert ((tokens == b"") == (pos == b"")).all()
