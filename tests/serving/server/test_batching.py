"""Requests that are computed together: the answers of each alone, within bounds, in any event."""

import asyncio
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server import strings
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from kerasner.serving.server.batching import Batcher
from kerasner.serving.server.metrics import Metrics
from kerasner.serving.server.prediction import Predictor
from kerasner.serving.server.servable import Signature
from kerasner.serving.server.status import ServingError

CODES = grpc.StatusCode
FEW = settings(deadline=None, max_examples=40, derandomize=True)


def definition(inputs, outputs):
    made = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for infos, named in ((made.inputs, inputs), (made.outputs, outputs)):
        for name, (dtype, shape) in named.items():
            infos[name].dtype = dtype
            for size in shape:
                infos[name].tensor_shape.dim.add(size=size)
    return made


STRING, FLOAT, INT = types_pb2.DT_STRING, types_pb2.DT_FLOAT, types_pb2.DT_INT32
LETTERS = definition(
    {"text": (STRING, [-1])},
    {"letters": (STRING, [-1, -1]), "counts": (INT, [-1]), "three": (INT, [-1, 3])},
)
CELLS = definition(
    {"tokens": (STRING, [-1, -1])}, {"upper": (STRING, [-1, -1]), "lengths": (INT, [-1])}
)


class Model:
    """A servable of functions that record their batches, wait for `go`, and fail at b"bad"."""

    name, version = "toy", 1

    def __init__(self):
        self.active = 0
        self.batches = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()
        self.signatures = {
            "serving_default": Signature(LETTERS, self.letters),
            "cells": Signature(CELLS, self.cells),
        }

    def letters(self, text):
        self.record(text)
        letters = tf.strings.bytes_split(text)
        return {
            "letters": letters.to_tensor(""),
            "counts": tf.cast(letters.row_lengths(), tf.int32),
            "three": tf.cast(letters.row_lengths()[:, None] * [1, 2, 3], tf.int32),
        }

    def cells(self, tokens):
        self.record(tokens)
        lengths = tf.math.count_nonzero(tokens != "", axis=1, dtype=tf.int32)
        return {"upper": tf.strings.upper(tokens), "lengths": lengths}

    def record(self, values):
        values = values.numpy().tolist()
        self.batches.append(values)
        self.entered.release()
        assert self.go.wait(30)
        if b"bad" in values:
            raise tf.errors.InvalidArgumentError(None, None, "a bad text")


@pytest.fixture
def model():
    return Model()


def run(scenario, **options):
    """Runs `scenario(predictor)` in a loop; with one thread unless told otherwise."""

    async def main():
        batcher = Batcher(Metrics(), **{"workers": 1, **options})
        try:
            return await scenario(Predictor(batcher))
        finally:
            batcher.close()

    return asyncio.run(main())


def ask(predictor, model, *texts, **options):
    return asyncio.ensure_future(
        predictor.predict(model, "", {"text": strings(list(texts))}, **options)
    )


async def busy(predictor, model):
    """Keeps the thread at work until `model.go`."""
    model.go.clear()
    first = ask(predictor, model, b"first")
    await asyncio.to_thread(model.entered.acquire)
    return first


async def code_of(answer):
    try:
        await answer
    except ServingError as error:
        return error.code
    return CODES.OK


def letters(answer):
    counts = answer["counts"].tolist()
    assert answer["three"].tolist() == [[n, 2 * n, 3 * n] for n in counts]
    return [[bytes(c) for c in row] for row in answer["letters"].tolist()], counts


def test_what_waits_is_computed_together_and_cut_apart(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = [ask(predictor, model, *texts) for texts in ([b"abc", b""], [], [b"d"], [b""])]
        await asyncio.sleep(0)
        model.go.set()
        return [letters(await answer) for answer in (first, *rest)]

    assert run(scenario) == [
        ([[b"f", b"i", b"r", b"s", b"t"]], [5]),
        ([[b"a", b"b", b"c"], [b"", b"", b""]], [3, 0]),
        ([], []),
        ([[b"d"]], [1]),
        ([[]], [0]),
    ]
    assert model.batches == [[b"first"], [b"abc", b"", b"d", b""]]


def test_requests_of_one_moment_go_together(model):
    async def scenario(predictor):
        return await asyncio.gather(*(ask(predictor, model, b"a") for _ in range(5)))

    assert len(run(scenario)) == 5
    assert model.batches == [[b"a"] * 5]


def test_signatures_are_not_mixed(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = []
        for _ in range(2):
            rest.append(ask(predictor, model, b"x"))
            tokens = {"tokens": strings([[b"x"]])}
            rest.append(asyncio.ensure_future(predictor.predict(model, "cells", tokens)))
        await asyncio.sleep(0)
        model.go.set()
        return await asyncio.gather(first, *rest)

    run(scenario)
    assert model.batches == [[b"first"], [b"x", b"x"], [[b"x"], [b"x"]]]


words = st.lists(st.sampled_from([b"", b"a", b"bc"]), max_size=4)
tables = st.integers(0, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([b"", b"a", b"bc"]), min_size=width, max_size=width), max_size=3
    ).map(lambda rows: np.array(rows, object).reshape(len(rows), width))
)


@FEW
@given(st.lists(tables, min_size=1, max_size=6))
def test_rows_of_tokens_come_back_at_their_own_width(requests):
    model = Model()

    async def scenario(predictor):
        answers = [predictor.predict(model, "cells", {"tokens": table}) for table in requests]
        return await asyncio.gather(*answers)

    for table, answer in zip(requests, run(scenario), strict=True):
        assert answer["upper"].shape == table.shape
        assert answer["upper"].tolist() == [[cell.upper() for cell in row] for row in table]
        assert answer["lengths"].tolist() == [sum(map(bool, row)) for row in table]
    assert len(model.batches) == 1


@FEW
@given(st.lists(st.lists(st.binary(max_size=5), max_size=3), min_size=1, max_size=8))
def test_batched_answers_are_the_serial_ones(requests):
    def answers(**options):
        model = Model()

        async def scenario(predictor):
            return await asyncio.gather(*(ask(predictor, model, *texts) for texts in requests))

        return [letters(answer) for answer in run(scenario, **options)], len(model.batches)

    serial, calls = answers(enabled=False)
    assert calls == len(requests)
    assert answers() == (serial, 1)


def test_a_batch_is_bounded(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = [ask(predictor, model, *[b"x"] * rows) for rows in (2, 3, 1, 9, 1)]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *rest)

    run(scenario, max_batch_size=4)
    # The third and the fifth fit beside the first; the fourth is larger than any batch.
    assert [len(batch) for batch in model.batches] == [1, 4, 3, 9]


def test_a_batch_has_a_budget_of_tokens(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = [ask(predictor, model, b"x" * 400) for _ in range(4)]  # of about 100 tokens
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *rest)

    run(scenario, max_batch_tokens=250)
    assert [len(batch) for batch in model.batches] == [1, 2, 2]


def test_one_long_text_does_not_pad_many_short_ones(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = [ask(predictor, model, *[b"x"] * 100), ask(predictor, model, b"y" * 3000)]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *rest)

    run(scenario, max_batch_tokens=4000)
    assert [len(batch) for batch in model.batches] == [1, 100, 1]


def test_a_further_thread_takes_a_full_batch_or_what_has_waited_for_long(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        full = [ask(predictor, model, b"x") for _ in range(4)]
        at_once = await asyncio.to_thread(model.entered.acquire, True, 10)
        late = ask(predictor, model, b"y")
        in_the_end = await asyncio.to_thread(model.entered.acquire, True, 10)
        assert at_once and in_the_end  # though the first still computes
        model.go.set()
        await asyncio.gather(first, *full, late)

    run(scenario, workers=3, max_batch_size=4)
    assert model.batches == [[b"first"], [b"x"] * 4, [b"y"]]


def test_an_error_hits_the_request_that_causes_it(model):
    async def scenario(predictor):
        answers = [ask(predictor, model, text) for text in (b"good", b"bad", b"fine")]
        return [await code_of(answer) for answer in answers]

    assert run(scenario) == [CODES.OK, CODES.INVALID_ARGUMENT, CODES.OK]
    assert model.batches == [[b"good", b"bad", b"fine"], [b"good"], [b"bad"], [b"fine"]]


def test_a_full_queue_refuses(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = [ask(predictor, model, b"x") for _ in range(4)]
        await asyncio.sleep(0)
        model.go.set()
        return [await code_of(answer) for answer in (first, *rest)], await code_of(
            ask(predictor, model, b"later")
        )

    codes, later = run(scenario, max_queue_requests=2)
    assert codes == [CODES.OK] * 3 + [CODES.RESOURCE_EXHAUSTED] * 2
    assert later == CODES.OK


def test_a_queue_is_bounded_in_bytes(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        rest = [ask(predictor, model, b"x" * 600) for _ in range(2)]
        await asyncio.sleep(0)
        model.go.set()
        return [await code_of(answer) for answer in (first, *rest)]

    assert run(scenario, max_queue_bytes=1000) == [CODES.OK, CODES.OK, CODES.RESOURCE_EXHAUSTED]


def test_what_nobody_waits_for_is_not_computed(model):
    async def scenario(predictor):
        first = await busy(predictor, model)
        now = asyncio.get_running_loop().time()
        late = ask(predictor, model, b"late", deadline=now + 0.01)
        gone = ask(predictor, model, b"gone")
        kept = ask(predictor, model, b"kept")
        await asyncio.sleep(0)
        gone.cancel()
        code = await code_of(late)  # while the thread is still at work
        model.go.set()
        await asyncio.gather(first, kept)
        assert gone.cancelled()
        return code

    assert run(scenario) == CODES.DEADLINE_EXCEEDED
    assert model.batches == [[b"first"], [b"kept"]]


def test_a_deadline_ends_what_is_being_computed(model):
    async def scenario(predictor):
        model.go.clear()
        now = asyncio.get_running_loop().time()
        code = await code_of(ask(predictor, model, b"long", deadline=now + 0.05))
        model.go.set()
        assert letters(await ask(predictor, model, b"ab")) == ([[b"a", b"b"]], [2])
        return code

    assert run(scenario) == CODES.DEADLINE_EXCEEDED
    assert model.batches == [[b"long"], [b"ab"]]


def test_waiting_for_a_batch_to_fill(model):
    async def scenario(predictor):
        first = ask(predictor, model, b"a")
        await asyncio.sleep(0.02)
        second = ask(predictor, model, b"b")
        await asyncio.gather(first, second)

    run(scenario, timeout_micros=300_000)
    assert model.batches == [[b"a", b"b"]]


@pytest.mark.parametrize(
    "inputs, outputs, expected",
    [
        ({"t": (STRING, [-1])}, {"y": (FLOAT, [-1, 3])}, True),
        ({"t": (STRING, [-1])}, {"y": (FLOAT, [-1, -1])}, False),  # padded, but how far?
        ({"t": (STRING, [-1])}, {"y": (FLOAT, [-1, -1]), "lengths": (INT, [-1])}, True),
        ({"t": (STRING, [-1])}, {"y": (FLOAT, [])}, False),
        ({"t": (STRING, [-1])}, {"y": (FLOAT, [3, -1]), "lengths": (INT, [-1])}, False),
        ({"t": (FLOAT, [-1])}, {"y": (FLOAT, [-1])}, False),
        ({"t": (STRING, [2])}, {"y": (FLOAT, [-1])}, False),
        ({"t": (STRING, [-1, -1]), "p": (STRING, [-1, -1])}, {"y": (STRING, [-1, -1])}, True),
        ({"t": (STRING, [-1, -1]), "p": (STRING, [-1])}, {"y": (STRING, [-1, -1])}, False),
        ({}, {"y": (FLOAT, [-1])}, False),
    ],
)
def test_which_signatures_can_be_batched(inputs, outputs, expected):
    assert Signature(definition(inputs, outputs), None).is_batchable is expected
