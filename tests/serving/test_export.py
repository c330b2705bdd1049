"""The SavedModel as a stranger meets it: loaded where kerasner and Keras cannot be imported."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import ENTITY_DTYPES, TEXT_DTYPES, TOKEN_DTYPES, assert_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.python.framework import op_def_registry

from kerasner import __version__, bio
from kerasner.chainer import Chainer
from kerasner.errors import ConfigError
from kerasner.serving import card, warmup
from kerasner.serving.export import export, model_name, next_version
from kerasner.tagger import Tagger

TAGS = {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}
LONG = 20_000
SIGNATURES = {
    "serving_default": (["text"], TEXT_DTYPES),
    "tokens": (["tokens"], TOKEN_DTYPES),
    "entities": (["text"], ENTITY_DTYPES),
}
OPERATIONS_OF_2_15 = set(
    """
Add AddN AddV2 All Any ArgMax AssignVariableOp BiasAdd BroadcastTo Cast ConcatV2 Const
CudnnRNNV3 Cumsum DecodeRaw DenseBincount DisableCopyOnRead DivNoNan EnsureShape Equal Exp
ExpandDims Fill FloorDiv FloorMod GatherNd GatherV2 Greater GreaterEqual HashTableV2 Identity
InitializeTableFromTextFileV2 InvertPermutation IsFinite Less LessEqual Log LogSoftmax
LogicalAnd LogicalNot LogicalOr LookupTableFindV2 LowerBound MatMul Max Maximum
MergeV2Checkpoints Minimum Mul Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall
Placeholder Prod RaggedRange RaggedTensorToTensor Range ReadVariableOp RealDiv ReduceJoin
Reshape ResourceGather RestoreV2 ReverseSequence SaveV2 ScatterNd SegmentMax Select SelectV2
Shape ShardedFilename Sigmoid Size Slice Split Squeeze StatefulPartitionedCall StatelessIf
StatelessWhile StaticRegexFullMatch StaticRegexReplace StopGradient StridedSlice StringJoin
StringLength StringLower StringSplitV2 StringStrip Sub Sum Tanh TensorListConcatV2
TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem TensorListStack
TensorScatterUpdate Tile TopKV2 Transpose UnicodeDecode UnicodeEncode UnicodeTranscode Unique
UniqueV2 Unpack UnsortedSegmentJoin UnsortedSegmentSum UpperBound VarHandleOp VarIsInitializedOp
Where While ZerosLike
""".split()
)
SENTENCES = [
    "Bernhard Riemann lived in Göttingen .",
    "He was born in Breselenz in 1826 .",
    "Nobody told U.N. officials",
]
SENTENCE_TAGS = ["B-PER I-PER O O B-LOC O", "O O O O B-LOC O O O", "O O B-LOC O"]

# Answers one JSON object a line. Bytes travel as Latin-1 strings.
WORKER = '''
import json, os, sys, threading

sys.modules["kerasner"] = None
sys.modules["keras"] = None
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else prints does not reach the answers
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

folder = sys.argv[1]
model = tf.saved_model.load(folder)


def memory(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))


if os.path.exists("/proc/self/status"):
    idle = memory("VmRSS")


def call(signature, batch):
    if signature == "tokens":
        width = len(batch[0]) if batch else 0
        flat = [v.encode("latin-1") for row in batch for v in row]
        inputs = {"tokens": tf.constant(flat, tf.string, shape=[len(batch), width])}
    else:
        inputs = {"text": tf.constant([v.encode("latin-1") for v in batch], tf.string)}
    return {k: v.numpy() for k, v in model.signatures[signature](**inputs).items()}


def written(value):
    rows = value.tolist()
    if value.dtype == object:
        rows = [[item.decode("latin-1") for item in row] for row in rows]
    return {"dtype": str(value.dtype), "shape": list(value.shape), "values": rows}


def concurrently(signature, batches, threads):
    serial = [call(signature, batch) for batch in batches]
    results = [[None] * len(batches) for _ in range(threads)]
    start = threading.Barrier(threads)

    def work(number):
        start.wait()
        for step in range(len(batches)):
            index = (number + step) % len(batches)
            results[number][index] = call(signature, batches[index])

    workers = [threading.Thread(target=work, args=[n]) for n in range(threads)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    shown = lambda outputs: {name: written(value) for name, value in outputs.items()}
    return {
        "serial": [shown(outputs) for outputs in serial],
        "concurrent": [[r and shown(r) for r in row] for row in results],
    }


def contents():
    saved = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        saved.ParseFromString(file.read())
    graph = saved.meta_graphs[0].graph_def
    functions = graph.library.function
    names = {function.signature.name for function in functions}
    nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
    used = {node.op for node in nodes}
    implementations = [
        {
            "interface": function.attr["api_implements"].s.decode(),
            "device": function.attr["api_preferred_device"].s.decode(),
            "inputs": [arg.type for arg in function.signature.input_arg],
            "outputs": [arg.type for arg in function.signature.output_arg],
            "ops": sorted({node.op for node in function.node_def}),
            "called": any(
                node.attr["f"].func.name == function.signature.name for node in nodes
            ),
            "least_lengths": least_lengths(function),
        }
        for function in functions
        if "api_implements" in function.attr
    ]
    return {
        "ops": sorted(used),
        "unknown": sorted(op for op in used - names if op_def_registry.get(op) is None),
        "implementations": implementations,
        "signatures": {
            key: [sorted(spec.structured_input_signature[1]), sorted(spec.structured_outputs)]
            for key, spec in model.signatures.items()
        },
    }


def least_lengths(function):
    """What the row lengths of each cuDNN call are at least, None where nothing says so."""
    nodes = {node.name: node for node in function.node_def}
    found = []
    for node in function.node_def:
        if node.op == "CudnnRNNV3":
            lengths = nodes.get(node.input[4].split(":")[0])
            constant = lengths and nodes.get(lengths.input[1].split(":")[0])
            bounded = lengths and lengths.op == "Maximum" and constant.op == "Const"
            value = constant.attr["value"].tensor if bounded else None
            found.append(int(tf.make_ndarray(value)) if bounded else None)
    return found


def peak(signature, batch):
    """Peak memory in kB above that of the idle process, and the shapes of the answer."""
    outputs = call(signature, batch)
    shapes = {name: list(value.shape) for name, value in outputs.items()}
    return memory("VmHWM") - idle, shapes


def answer(request):
    kind = request.pop("kind")
    if kind == "call":
        return {name: written(value) for name, value in call(**request).items()}
    return {"concurrently": concurrently, "contents": contents, "peak": peak}[kind](**request)


for line in sys.stdin:
    try:
        result = {"result": answer(json.loads(line))}
    except Exception as error:
        result = {"error": repr(error)}
    answers.write(json.dumps(result) + "\\n")
    answers.flush()
'''


class Worker:
    """A process that has TensorFlow and a SavedModel, and nothing of kerasner."""

    def __init__(self, folder: Path, script: Path):
        script.write_text(WORKER, encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )

    def ask(self, kind: str, **request):
        self._process.stdin.write(json.dumps({"kind": kind, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process that serves the model ended: {self._process.wait()}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def call(self, signature: str, batch: list) -> dict[str, np.ndarray]:
        return arrays(self.ask("call", signature=signature, batch=sent(batch)))

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def sent(item):
    """Strings and bytes in lists of any depth as the worker expects them."""
    if isinstance(item, list):
        return [sent(part) for part in item]
    return (item.encode() if isinstance(item, str) else item).decode("latin-1")


def arrays(outputs: dict) -> dict[str, np.ndarray]:
    """What the worker wrote, strings as bytes."""
    result = {}
    for name, output in outputs.items():
        values = output["values"]
        if output["dtype"] == "object":
            values = [[item.encode("latin-1") for item in row] for row in values]
        result[name] = np.array(values, output["dtype"]).reshape(output["shape"])
    return result


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> Tagger:
    """All the components of the shipped pipeline, small, with random weights."""
    vectors = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    vectors.write_text("the 0.1 0.2 0.9\nof 0.3 -0.1 0.4\nlived -0.5 0.1 0.2\nborn 0.7 -0.8 0.1\n")
    pipe = [
        {"class_name": "lazy_tokenizer", "in": ["x"], "out": ["tokens"]},
        {"class_name": "str_lower", "in": ["tokens"], "out": ["lower"]},
        {"class_name": "sanitizer", "nums": True, "in": ["lower"], "out": ["plain"]},
        {
            "class_name": "simple_vocab", "id": "tags",
            "in": ["y"], "fit_on": ["y"], "out": ["y_ids"],
        },
        {"class_name": "char_splitter", "in": ["tokens"], "out": ["chars"]},
        {
            "class_name": "simple_vocab", "id": "char_ids",
            "in": ["chars"], "fit_on": ["chars"], "out": ["char_ids"],
        },
        {
            "class_name": "glove", "id": "words", "load_path": str(vectors),
            "lacking_min_count": 1, "in": ["plain"], "fit_on": ["plain"], "out": ["word_ids"],
        },
        {
            "class_name": "capitalization_featurizer", "scheme": "extended",
            "in": ["tokens"], "out": ["case"],
        },
        {
            "class_name": "ner", "in": ["word_ids", "char_ids", "case"], "in_y": ["y_ids"],
            "out": ["predicted"], "n_hidden_list": [6, 5], "char_emb_dim": 4, "char_filters": 5,
        },
        {"ref": "tags", "in": ["predicted"], "out": ["tags_out"]},
    ]  # fmt: skip
    config = {"in": ["x"], "in_y": ["y"], "out": ["tokens", "tags_out"], "pipe": pipe}
    data = {
        "x": tf.constant(" ".join(SENTENCES).split()),
        "y": tf.constant(" ".join(SENTENCE_TAGS).split()),
    }
    tagger = Tagger(Chainer(config, data=data), {"chainer": config})
    random = np.random.default_rng(7)
    for weight in tagger.model.trainable_weights:
        weight.assign(random.normal(size=weight.shape, scale=0.7))
    return tagger


@pytest.fixture(scope="module")
def exported(tagger, tmp_path_factory) -> Path:
    return export(tagger, tmp_path_factory.mktemp("exported") / "model", version=3)


@pytest.fixture(scope="module")
def worker(exported, tmp_path_factory):
    worker = Worker(exported, tmp_path_factory.mktemp("worker") / "worker.py")
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def measured_worker(exported, tmp_path_factory):
    """A process of its own, whose peak of memory no other test has raised."""
    if not Path("/proc/self/status").exists():
        pytest.skip("reads memory from Linux's /proc")
    worker = Worker(exported, tmp_path_factory.mktemp("worker") / "worker.py")
    yield worker
    worker.close()


# What breaks tokenizers: scripts, marks, joiners, controls, bytes that are no UTF-8.
PIECES = [
    *" ".join(SENTENCES).split(),
    " ", "  ", "\n\n", "\t", "\0", "\x1b[0m", "\x7f", "\u200b", "\ufeff", "\u2028", "\ufdd0",
    "👩\u200d👩\u200d👧", "🇩🇪", "e\u0301", "\u0301", "שלום", "مرحبا", "\u202eabc", "東京。",
    "ß", "İ", "\U0010ffff",
    "don't", "U.S.", "$5.40", "1996-08-22", "(", ")", "...", '"', "''", ". ", "! He", "x" * 300,
]  # fmt: skip
BROKEN = [b"\xff", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x91", b"\xc0\xaf", b"\xf8\x88"]
piece = st.one_of(
    st.sampled_from([*(p.encode() for p in PIECES), *BROKEN]),
    st.text(max_size=6).map(str.encode),
    st.binary(max_size=6),
)
texts = st.one_of(
    st.lists(piece, max_size=12).map(b" ".join), st.lists(piece, max_size=8).map(b"".join)
)
batches = st.lists(texts, max_size=5)
TOKENS = [b"a", b"Riemann", "Göttingen".encode(), b"1826", b"\0", b" ", b"\xff", "👩".encode()]
rows = st.lists(st.one_of(st.sampled_from(TOKENS), piece.filter(len)), max_size=7)

check = settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def rows_of(outputs, counts) -> list[dict[str, list]]:
    """Each row without its padding."""
    return [
        {name: value[i, :n].tolist() for name, value in outputs.items() if name != counts}
        for i, n in enumerate(outputs[counts])
    ]


def assert_same(left: dict[str, list], right: dict[str, list]):
    assert left.keys() == right.keys()
    for name in left:
        if name == "scores":
            np.testing.assert_allclose(left[name], right[name], rtol=0, atol=1e-5)
        else:
            assert left[name] == right[name], name


def assert_answers(worker, batch: list[bytes]):
    """Every property of the answers to a batch of texts; gives them back row by row."""
    outputs = worker.call("serving_default", batch)
    assert_table(outputs, TEXT_DTYPES, len(batch), "lengths")
    tagged = rows_of(outputs, "lengths")
    for raw, row in zip(batch, tagged, strict=True):
        text = raw.decode("utf-8", "replace")
        places = list(zip(row["starts"], row["ends"], strict=True))
        assert [text[start:end] for start, end in places] == decoded(row["tokens"])
        assert all(start < end for start, end in places)
        assert all(before[1] <= after[0] for before, after in zip(places, places[1:], strict=False))
        assert bool(row["tokens"]) == bool(text.strip())
        assert set(decoded(row["tags"])) <= TAGS
        assert all(0 < score <= 1 for score in row["scores"])

    outputs = worker.call("entities", batch)
    assert_table(outputs, ENTITY_DTYPES, len(batch), "counts")
    found = rows_of(outputs, "counts")
    for raw, row, entities in zip(batch, tagged, found, strict=True):
        text = raw.decode("utf-8", "replace")
        expected = [
            (label, row["starts"][first], row["ends"][end - 1])
            for label, first, end in bio.entities(decoded(row["tags"]))
        ]
        columns = (decoded(entities["labels"]), entities["starts"], entities["ends"])
        assert list(zip(*columns, strict=True)) == expected
        assert decoded(entities["texts"]) == [text[start:end] for _, start, end in expected]
        assert all(0 <= score <= 1 for score in entities["scores"])
    return tagged, found


def decoded(items: list[bytes]) -> list[str]:
    return [item.decode() for item in items]


def test_signatures_are_those_of_the_contract_and_no_others(worker):
    signatures = worker.ask("contents")["signatures"]
    assert signatures == {
        key: [inputs, sorted(outputs)] for key, (inputs, outputs) in SIGNATURES.items()
    }


def test_holds_only_operations_of_plain_tensorflow(worker):
    contents = worker.ask("contents")
    assert contents["unknown"] == []
    assert len(contents["ops"]) > 50
    assert not [op for op in contents["ops"] if "PyFunc" in op]


def test_holds_the_portable_and_the_cudnn_kernel_of_each_lstm(worker):
    implementations = worker.ask("contents")["implementations"]
    interfaces = {function["interface"] for function in implementations}
    assert len(interfaces) == 2  # the two LSTM layers are of different width
    for interface in interfaces:
        pair = [f for f in implementations if f["interface"] == interface]
        by_device = {function["device"]: function for function in pair}
        assert sorted(function["device"] for function in pair) == ["CPU", "GPU"]
        portable, cudnn = by_device["CPU"], by_device["GPU"]
        assert "CudnnRNNV3" in cudnn["ops"]
        assert "CudnnRNNV3" not in portable["ops"]
        assert portable["called"]
        assert (portable["inputs"], portable["outputs"]) == (cudnn["inputs"], cudnn["outputs"])
        assert cudnn["least_lengths"] == [1, 1]  # one call a direction


@check
@given(batch=batches)
def test_any_texts_are_answered_exactly_and_each_as_if_alone(worker, batch):
    tagged, found = assert_answers(worker, batch)
    for index, text in enumerate(batch):
        alone = rows_of(worker.call("serving_default", [text]), "lengths")
        assert_same(tagged[index], alone[0])
        alone = rows_of(worker.call("entities", [text]), "counts")
        assert_same(found[index], alone[0])


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [b""],
        [b"", b" ", b"\t\n\r", "\u3000\u2028".encode()],
        [b"a"],
        [b"", b"Riemann", b""],
        [piece.encode() for piece in PIECES],
        BROKEN,
        [bytes([byte]) for byte in range(256)],
        [b"\0" * 50, b"a\0b", b"\x01\x02 \x7f"],
        ["\ufeffa \ufdd0 \uffff \U0001fffe b".encode()],
        [b"x" * 100_000, b"a " * 500],
        [b"Riemann " * LONG],
        [b"." * LONG, b"\xff" * LONG, b"\n" * LONG, "́".encode() * LONG],
    ],
    ids=lambda batch: f"{len(batch)}x{max(map(len, batch), default=0)}",
)
def test_extreme_texts_are_answered(worker, batch):
    assert_answers(worker, batch)


def test_a_long_text_beside_short_ones_is_answered_as_if_alone(worker):
    short = [f"Riemann was born in Breselenz {i} .".encode() for i in range(20)]
    long = b"He lived in " * (LONG // 3)
    tagged, found = assert_answers(worker, [*short, long])
    assert_same(tagged[3], rows_of(worker.call("serving_default", short[3:4]), "lengths")[0])
    assert_same(tagged[-1], rows_of(worker.call("serving_default", [long]), "lengths")[0])
    assert_same(found[-1], rows_of(worker.call("entities", [long]), "counts")[0])


@pytest.mark.parametrize("signature", ["serving_default", "entities", "tokens"])
def test_memory_is_bounded_whatever_the_lengths(measured_worker, signature):
    words = sent(" ".join(SENTENCES).split())
    long = (words * (LONG // len(words) + 1))[:LONG]
    if signature == "tokens":
        batch = [long, *([*words, *[""] * (LONG - len(words))] for _ in range(31))]
    else:
        batch = [" ".join(long), *[" ".join(words)] * 255]
    peak, shapes = measured_worker.ask("peak", signature=signature, batch=batch)
    assert all(shape[0] == len(batch) for shape in shapes.values())
    assert peak < 2**20


def test_memory_is_bounded_whatever_the_length_of_a_token(measured_worker):
    """One endless token among many does not widen the table of characters of them all."""
    batch = [" ".join(f"w{i}" for i in range(3000)), "x" * 100_000]
    peak, shapes = measured_worker.ask("peak", signature="serving_default", batch=batch)
    assert shapes["tokens"] == [2, 3000]
    assert peak < 2**20


@check
@given(sentences=st.lists(rows, max_size=4), data=st.data())
def test_token_rows_are_tagged_alike_wherever_their_padding_is(worker, sentences, data):
    width = max(map(len, sentences), default=0) + data.draw(st.integers(0, 3))
    padded, places = [], []
    for sentence in sentences:
        chosen = st.sets(
            st.integers(0, max(width - 1, 0)), min_size=len(sentence), max_size=len(sentence)
        )
        place = sorted(data.draw(chosen))
        row = [b""] * width
        for position, token in zip(place, sentence, strict=True):
            row[position] = token
        padded.append(row)
        places.append(place)
    outputs = worker.call("tokens", padded)
    width = width if padded else 0  # JSON does not tell the width of no rows
    # Interior padding belongs to a row: its length reaches to its last token.
    assert_table(outputs, TOKEN_DTYPES, len(sentences), "lengths", width=width)
    assert outputs["lengths"].tolist() == [max(place, default=-1) + 1 for place in places]
    for index, (sentence, place) in enumerate(zip(sentences, places, strict=True)):
        gaps = np.setdiff1d(np.arange(width), place)
        assert all(outputs["tags"][index, gaps] == b"")
        assert all(outputs["scores"][index, gaps] == 0)
        alone = worker.call("tokens", [sentence])
        assert alone["lengths"].tolist() == [len(sentence)]
        assert set(decoded(alone["tags"][0])) <= TAGS
        assert outputs["tags"][index, place].tolist() == alone["tags"][0].tolist()
        np.testing.assert_allclose(
            outputs["scores"][index, place], alone["scores"][0], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (2, 3)])
def test_token_batches_without_a_token_are_answered(worker, shape):
    outputs = worker.call("tokens", [[""] * shape[1]] * shape[0])
    assert_table(outputs, TOKEN_DTYPES, shape[0], "lengths", width=shape[1])
    assert not outputs["lengths"].any()


def test_a_token_row_of_any_length_is_one_sentence(worker):
    row = ["Riemann", "in", "Göttingen", "."] * (LONG // 4)
    outputs = worker.call("tokens", [row, [*row[:3], *[""] * (LONG - 3)]])
    assert outputs["lengths"].tolist() == [LONG, 3]
    alone = worker.call("tokens", [row[:3]])
    assert outputs["tags"][1, :3].tolist() == alone["tags"][0].tolist()
    assert np.isfinite(outputs["scores"]).all()
    assert (outputs["scores"][0] > 0).all()


def test_tokens_signature_agrees_with_the_text_signature(worker):
    tagged, _ = assert_answers(worker, [s.encode() for s in SENTENCES])
    for row in tagged:
        outputs = worker.call("tokens", [row["tokens"]])
        assert outputs["tags"][0].tolist() == row["tags"]
        np.testing.assert_allclose(outputs["scores"][0], row["scores"], rtol=0, atol=1e-5)


@check
@given(parts=st.lists(st.sampled_from(SENTENCES[:2]), min_size=1, max_size=5))
def test_the_sentences_of_a_document_are_tagged_one_by_one(worker, parts):
    apart = rows_of(worker.call("serving_default", [part.encode() for part in parts]), "lengths")
    document = " ".join(parts)
    (joined,) = rows_of(worker.call("serving_default", [document.encode()]), "lengths")
    assert joined["tokens"] == sum((row["tokens"] for row in apart), [])
    assert joined["tags"] == sum((row["tags"] for row in apart), [])
    expected = sum((row["scores"] for row in apart), [])
    np.testing.assert_allclose(joined["scores"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("signature", ["serving_default", "tokens", "entities"])
def test_concurrent_calls_give_the_serial_answers(worker, signature):
    requests = [
        [SENTENCES[0]],
        SENTENCES,
        [],
        ["", "Riemann"],
        [" ".join(SENTENCES * n) for n in (40, 1, 9)],
    ]
    if signature == "tokens":
        width = max(len(text.split()) for request in requests for text in request)
        requests = [
            [[*text.split(), *[""] * (width - len(text.split()))] for text in request]
            for request in requests
        ]
    batches = sent(requests)
    report = worker.ask("concurrently", signature=signature, batches=batches, threads=8)
    serial = [arrays(outputs) for outputs in report["serial"]]
    assert len(report["concurrent"]) == 8
    for results in report["concurrent"]:
        for expected, result in zip(serial, results, strict=True):
            result = arrays(result)
            for name, value in expected.items():
                if name == "scores":
                    np.testing.assert_allclose(result[name], value, rtol=0, atol=1e-5)
                else:
                    np.testing.assert_array_equal(result[name], value)


def test_the_tagger_gives_the_answers_of_its_export(worker, tagger):
    texts = [*SENTENCES, "", " ".join(SENTENCES)]
    tagged, found = assert_answers(worker, [text.encode() for text in texts])
    tokens, tags = tagger(texts)
    assert tokens == [decoded(row["tokens"]) for row in tagged]
    assert tags == [decoded(row["tags"]) for row in tagged]
    for entities, row in zip(tagger.entities(texts), found, strict=True):
        assert [e.text for e in entities] == decoded(row["texts"])
        assert [e.label for e in entities] == decoded(row["labels"])
        np.testing.assert_allclose([e.score for e in entities], row["scores"], atol=1e-5)


def test_export_returns_the_folder_and_replaces_an_earlier_one(tagger, tmp_path):
    place = export(tagger, tmp_path / "deep" / "model", version=7)
    assert place == tmp_path / "deep" / "model" / "7"
    (place / "left_over").touch()
    assert tagger.export(tmp_path / "deep" / "model", version=7) == place
    assert sorted(p.name for p in place.iterdir()) == [
        "assets", "assets.extra", "fingerprint.pb", "saved_model.pb", "variables",
    ]  # fmt: skip
    assert [p.name for p in place.parent.iterdir()] == ["7"]  # nothing is left beside it
    outputs = tf.saved_model.load(place).signatures["serving_default"](text=tf.constant(["a"]))
    assert outputs["tokens"].numpy().tolist() == [[b"a"]]


def test_export_writes_into_an_empty_folder(tagger, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert export(tagger, "empty") == tmp_path / "empty"
    assert (tmp_path / "empty" / "saved_model.pb").is_file()


def test_export_leaves_what_is_no_saved_model_alone(tagger, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ConfigError, match="is no SavedModel") as caught:
            export(tagger, path)
        assert str(path) in str(caught.value)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["file/model", "x" * 300])
def test_export_to_an_impossible_place_is_one_clear_error(tagger, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write") as caught:
        export(tagger, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_export_leaves_the_earlier_model(tagger, tmp_path, monkeypatch):
    place = tmp_path / "model"
    place.mkdir()
    (place / "saved_model.pb").write_bytes(b"earlier")

    def full_disk(graph, path, **kwargs):
        Path(path, "half").touch()
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(ConfigError, match="No space left"):
        export(tagger, place)
    assert (place / "saved_model.pb").read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_server_that_watches_the_folder_never_sees_half_a_version(tagger, tmp_path, monkeypatch):
    seen = []

    def watch(folder: Path):
        seen.append([path.name for path in folder.iterdir()])

    for step in (warmup, "write"), (card, "model_card"), (tf.saved_model, "save"):
        original = getattr(*step)

        def watched(*args, original=original, **kwargs):
            watch(tmp_path / "model")
            result = original(*args, **kwargs)
            watch(tmp_path / "model")
            return result

        monkeypatch.setattr(*step, watched)
    export(tagger, tmp_path / "model", version=1)
    export(tagger, tmp_path / "model", version=2)
    assert len(seen) == 12
    versions = [[name for name in names if name.isdecimal()] for names in seen]
    assert versions == [[]] * 6 + [["1"]] * 6
    # What TensorFlow Serving would take for a version starts with a digit, a sign or a blank.
    assert all(name.startswith(".") or name == "1" for names in seen for name in names)


def test_saved_model_cli_shows_the_documented_names_alone(exported):
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    command += ["show", "--dir", str(exported), "--all"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = re.split(r"^signature_def\['(.*)'\]:$", shown, flags=re.MULTILINE)
    signatures = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert sorted(signatures) == sorted(["__saved_model_init_op", *SIGNATURES])
    for key, (inputs, outputs) in SIGNATURES.items():
        text = signatures[key]
        assert re.findall(r"inputs\['(.*)'\]", text) == inputs
        assert re.findall(r"outputs\['(.*)'\]", text) == sorted(outputs)
        names = re.findall(r"name: (.*)", text)
        assert names[: len(inputs)] == [f"{key}_{name}:0" for name in inputs]
        assert "Method name is: tensorflow/serving/predict" in text


def test_tensorflow_2_15_knows_every_operation(worker):
    """A new operation goes into the list; the run on TensorFlow 2.15 tells whether it may."""
    contents = worker.ask("contents")
    assert [op for op in contents["ops"] if op not in OPERATIONS_OF_2_15] == []
    assert [op for op in sorted(OPERATIONS_OF_2_15) if op_def_registry.get(op) is None] == []


def test_the_tags_are_listed(exported, tagger):
    assert (exported / "assets.extra" / "tags.txt").read_text().split() == [
        "O", "B-LOC", "I-LOC", "B-PER", "I-PER",
    ]  # fmt: skip


def test_the_model_card(exported, tmp_path):
    text = (exported / "assets.extra" / "model_card.md").read_text(encoding="utf-8")
    assert text.startswith("# model\n")
    for line in (
        "| Entities | LOC, PER |",
        f"| Made with | kerasner {__version__}, TensorFlow {tf.__version__}, Keras "
        f"{keras.__version__} |",
        "| input | `text` | string [B] | texts of any length, UTF-8 |",
        '| input | `tokens` | string [B, T] | the words of a sentence or text, padded with "" |',
        "| output | `scores` | float32 [B, E] | probability of each tag, or of each entity |",
        "| output | `counts` | int32 [B] | entities of each text; what follows is padding |",
        '- glove: load_path = "vectors.txt", lacking_min_count = 1',  # and not the whole path
        "- ner: n_hidden_list = [6, 5], char_emb_dim = 4, char_filters = 5",
    ):
        assert line in text.splitlines()
    assert re.findall("### (.*)", text) == ["entities", "serving_default", "tokens"]
    for key, (inputs, outputs) in SIGNATURES.items():
        table = text.split(f"### {key}\n")[1].split("#")[0]
        assert re.findall("put . `(.*?)`", table) == [*sorted(inputs), *sorted(outputs)]


def test_versions_are_counted_on(tmp_path):
    assert next_version(tmp_path / "none") == 1
    for name in ("3", "0007", "x9", "9.part", ".10.1234.part"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 8


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ner_conll2003", "ner_conll2003"),
        ("configs/my_ner.json", "my_ner"),
        ("models/my_model/", "my_model"),
        ("~/my_model", "my_model"),
    ],
)
def test_a_model_is_called_as_what_it_is_loaded_from(source, name):
    assert model_name(source) == name


def test_a_model_in_the_working_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_name(".") == tmp_path.name


def test_export_refuses_a_negative_version(tagger, tmp_path):
    with pytest.raises(ConfigError, match="-1"):
        export(tagger, tmp_path, version=-1)
    assert not list(tmp_path.iterdir())
