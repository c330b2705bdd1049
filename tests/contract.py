"""What every SavedModel answers: names, dtypes, shapes, padding, offsets."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from kerasner import bio

TEXT_DTYPES = {
    "tokens": object, "tags": object, "scores": np.float32,
    "starts": np.int32, "ends": np.int32, "lengths": np.int32,
}  # fmt: skip
TOKEN_DTYPES = {"tags": object, "scores": np.float32, "lengths": np.int32}
ENTITY_DTYPES = {
    "labels": object, "texts": object, "starts": np.int32, "ends": np.int32,
    "scores": np.float32, "counts": np.int32,
}  # fmt: skip


def assert_table(outputs, dtypes, n_rows, counts, width=None):
    """Shapes, dtypes and padding of the table of signatures."""
    assert {name: value.dtype for name, value in outputs.items()} == dtypes
    lengths = outputs[counts]
    assert lengths.shape == (n_rows,)
    if width is None:
        width = max(lengths, default=0)
    for name, value in outputs.items():
        if name != counts:
            assert value.shape == (n_rows, width), name
            for row, length in zip(value, lengths, strict=True):
                assert all(row[length:] == (b"" if value.dtype == object else 0)), name


def replay(folder: Path, model) -> list[tuple[predict_pb2.PredictRequest, dict]]:
    """Runs the requests of the warm-up file, as TensorFlow Serving does before it answers.

    Args:
        folder: of the SavedModel.
        model: what is loaded from it.

    Returns:
        Each request with its answer.
    """
    found = []
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        signature = model.signatures[request.model_spec.signature_name]
        answer = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        found.append((request, {name: value.numpy() for name, value in answer.items()}))
    return found


def assert_contract(
    folder: Path, texts: list[str], sentences: list[list[list[str]]], labels: set[str]
) -> None:
    """Loads a SavedModel and checks its answers, to nothing at all too.

    Args:
        folder: of the SavedModel.
        texts: to be tagged.
        sentences: rows of tokens; with further inputs, the rows of each input in turn.
        labels: that entities may have.
    """
    model = tf.saved_model.load(str(folder))
    has_text = len(sentences) == 1
    names = {"tokens", "serving_default", "entities"} if has_text else {"tokens"}
    assert set(model.signatures) == names
    legal = {"O", *(f"{prefix}-{label}" for prefix in "BI" for label in labels)}
    _check_tokens(model.signatures["tokens"], sentences, legal)
    replayed = [request.model_spec.signature_name for request, _ in replay(folder, model)]
    assert replayed == [name for name in model.signatures for _ in range(4)]
    if not has_text:
        return
    for batch in (texts, texts[:1], [], ["", *texts, " \n"]):
        value = tf.constant([text.encode() for text in batch], tf.string, [len(batch)])
        answers = {name: model.signatures[name](text=value) for name in names - {"tokens"}}
        _check_text(batch, answers, legal)


def _check_tokens(signature, inputs: list[list[list[str]]], legal: set[str]) -> None:
    _, specs = signature.structured_input_signature
    assert len(specs) == len(inputs)
    first, *further = inputs
    names = ["tokens", *(name for name in specs if name != "tokens")]
    alone = [
        _padded_call(signature, names, [[row] for row in rows])
        for rows in zip(*inputs, strict=True)
    ]
    outputs = _padded_call(signature, names, [first, *further])
    assert_table(outputs, TOKEN_DTYPES, len(first), "lengths")
    assert outputs["lengths"].tolist() == [len(row) for row in first]
    for index, (row, single) in enumerate(zip(first, alone, strict=True)):
        tags = outputs["tags"][index, : len(row)]
        assert {tag.decode() for tag in tags} <= legal
        assert tags.tolist() == single["tags"][0].tolist()
        scores = outputs["scores"][index, : len(row)]
        np.testing.assert_allclose(scores, single["scores"][0], rtol=0, atol=1e-5)
        assert all(0 < score <= 1.00001 for score in scores)
    assert_table(_padded_call(signature, names, [[]] * len(inputs)), TOKEN_DTYPES, 0, "lengths")


def _padded_call(signature, names, columns) -> dict[str, np.ndarray]:
    width = max((len(row) for row in columns[0]), default=0)
    padded = [[row + [""] * (width - len(row)) for row in rows] for rows in columns]
    inputs = {
        name: tf.constant(rows, tf.string, [len(rows), width])
        for name, rows in zip(names, padded, strict=True)
    }
    return {name: value.numpy() for name, value in signature(**inputs).items()}


def _check_text(batch: list[str], answers: dict[str, dict], legal: set[str]) -> None:
    tagged = {name: value.numpy() for name, value in answers["serving_default"].items()}
    found = {name: value.numpy() for name, value in answers["entities"].items()}
    assert_table(tagged, TEXT_DTYPES, len(batch), "lengths")
    assert_table(found, ENTITY_DTYPES, len(batch), "counts")
    for index, text in enumerate(batch):
        n, m = tagged["lengths"][index], found["counts"][index]
        starts, ends = tagged["starts"][index, :n], tagged["ends"][index, :n]
        tokens = [token.decode() for token in tagged["tokens"][index, :n]]
        assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == tokens
        assert bool(n) == bool(text.strip())
        tags = [tag.decode() for tag in tagged["tags"][index, :n]]
        assert set(tags) <= legal
        expected = [
            (label, starts[first], ends[end - 1]) for label, first, end in bio.entities(tags)
        ]
        columns = (
            [x.decode() for x in found["labels"][index, :m]],
            *(found[name][index, :m] for name in ("starts", "ends")),
        )
        assert list(zip(*columns, strict=True)) == expected
        assert [x.decode() for x in found["texts"][index, :m]] == [
            text[start:end] for _, start, end in expected
        ]
