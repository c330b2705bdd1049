"""The files for operators in serving/: parsed as their readers do, and in agreement."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from kerasner.serving.export import export

SERVING = Path(__file__).parents[2] / "serving"
MODEL = "ner_conll2003"
GRPC, REST = 8500, 8501  # of the image tensorflow/serving
METRICS_PATH = "/monitoring/prometheus/metrics"
POD = {"app.kubernetes.io/name": "ner-serving"}

# Messages that tensorflow-serving-api leaves out: fields with their types, in the order of their
# numbers, of monitoring_config.proto, ssl_config.proto and session_bundle_config.proto.
MESSAGES = {
    "Int64Value": {"value": "int64"},
    "StringValue": {"value": "string"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
    "SSLConfig": {
        "server_key": "string", "server_cert": "string", "custom_ca": "string",
        "client_verify": "bool",
    },
    "BatchingParameters": {
        "max_batch_size": "Int64Value", "batch_timeout_micros": "Int64Value",
        "max_enqueued_batches": "Int64Value", "num_batch_threads": "Int64Value",
        "thread_pool_name": "StringValue", "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
    },
}  # fmt: skip

# What TensorFlow Serving counts, and with which labels: servables/tensorflow/util.cc,
# batching/batching_session.cc, servables/tensorflow/saved_model_warmup_util.cc; TensorFlow's
# cc/saved_model/loader.cc and core/framework/metrics.cc. A slash becomes a colon.
HISTOGRAMS = {
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint", "status"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
    ":tensorflow:serving:model_warmup_latency": {"model_path", "status"},
}
METRICS = {
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
    ":tensorflow:core:graph_runs": set(),
    "up": {"job"},
    **{f"{name}_bucket": {*labels, "le"} for name, labels in HISTOGRAMS.items()},
    **{
        f"{name}_{part}": labels for name, labels in HISTOGRAMS.items() for part in ("sum", "count")
    },
}


def parsed(name: str, text: str):
    """A text-format message of TensorFlow Serving."""
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        added = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(fields.items(), 1):
            many, _, kind = kind.rpartition(" ")
            entry = added.field.add(name=field, number=number)
            entry.label = types.LABEL_REPEATED if many else types.LABEL_OPTIONAL
            if kind in MESSAGES:
                entry.type, entry.type_name = types.TYPE_MESSAGE, kind
            else:
                entry.type = getattr(types, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()
    return text_format.Parse(text, message)


def read(name: str) -> str:
    return (SERVING / name).read_text(encoding="utf-8")


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all(read(name)))


def module(name: str):
    """A script of serving/, imported."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, SERVING / name)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def compose() -> dict:
    return documents("docker-compose.yml")[0]


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], dict]:
    """Kind and name -> manifest."""
    (kustomization,) = documents("kustomization.yaml")
    found = [item for name in kustomization["resources"] for item in documents(name)]
    assert sorted(kustomization["resources"]) == sorted(
        str(path.relative_to(SERVING)) for path in (SERVING / "kubernetes").iterdir()
    )
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


@pytest.fixture(scope="module")
def container(manifests) -> dict:
    (container,) = manifests["Deployment", "ner-serving"]["spec"]["template"]["spec"]["containers"]
    return container


def test_models_config():
    config = text_format.Parse(read("models.config"), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (MODEL, f"/models/{MODEL}")
    assert model.model_platform == "tensorflow"
    assert set(model.version_labels) == {"stable", "canary"}
    served = model.model_version_policy.specific.versions
    assert set(model.version_labels.values()) <= set(served)


def test_batching_parameters():
    parameters = parsed("BatchingParameters", read("batching_parameters.txt"))
    assert parameters.pad_variable_length_inputs
    assert parameters.max_batch_size.value >= 64  # a request of kerasner.serving.Client
    assert not parameters.allowed_batch_sizes
    with pytest.raises(text_format.ParseError):
        parsed("BatchingParameters", "max_batch_size: 256")


def test_a_leading_column_makes_the_padding_of_tensorflow_serving_harmless(tagger, tmp_path):
    """It joins requests of unequal width and fills up with the first element of each."""
    place = export(tagger, tmp_path / "small", version=1)
    tokens = tf.saved_model.load(str(place)).signatures["tokens"]

    def answers(requests: list[list[str]]) -> list[list[bytes]]:
        width = max(map(len, requests))
        rows = [row + [row[0]] * (width - len(row)) for row in requests]
        outputs = tokens(tokens=tf.constant(rows))
        return [
            tags[1:length].tolist()
            for tags, length in zip(
                outputs["tags"].numpy(), outputs["lengths"].numpy(), strict=True
            )
        ]

    short = ["", "Abel", "Arnstad", "left", "Fluxon"]
    long = ["", *"Yesterday the mayor of Avalund met Hilda Falk , she said .".split()]
    assert answers([short, long]) == [*answers([short]), *answers([long])]
    assert answers([short])[0][:2] == [b"B-PER", b"I-PER"]
    # Without it the first word would be repeated.
    assert answers([short[1:], long])[0] != answers([short[1:]])[0]


def test_monitoring_config(container):
    config = parsed("MonitoringConfig", read("monitoring.config")).prometheus_config
    assert (config.enable, config.path) == (True, METRICS_PATH)
    (scraped,) = documents("monitoring/prometheus.yml")[0]["scrape_configs"]
    assert scraped["metrics_path"] == METRICS_PATH
    assert scraped["static_configs"] == [{"targets": [f"model-server:{REST}"]}]


def test_compose(compose):
    server = compose["services"]["model-server"]
    folder = SERVING.resolve()
    assert {f"127.0.0.1:{port}:{port}" for port in (GRPC, REST)} == set(server["ports"])
    mounts = dict(mount.removesuffix(":ro").split(":") for mount in server["volumes"])
    assert mounts == {"../models": "/models", ".": "/config"}
    check_flags(server["command"], server["cpus"])
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for mount in service["volumes"]:
            source = folder / mount.split(":")[0]
            assert source.exists() or source == folder / "../models"
            assert mount.endswith(":ro")


def check_flags(flags: list[str], cores: int):
    """Flags name files of serving/, which lies at /config, and count its cores."""
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    assert given["model_config_file"] == "/config/models.config"
    assert given["batching_parameters_file"] == "/config/batching_parameters.txt"
    assert given["monitoring_config_file"] == "/config/monitoring.config"
    for value in given.values():
        if value.startswith("/config/"):
            assert (SERVING / value.removeprefix("/config/")).is_file()
    assert given["enable_batching"] == "true"  # else the parameters are refused
    assert given["allow_version_labels_for_unavailable_models"] == "true"
    parameters = parsed("BatchingParameters", read("batching_parameters.txt"))
    assert parameters.num_batch_threads.value == cores
    for kind in ("intra", "inter"):
        assert given.get(f"tensorflow_{kind}_op_parallelism", str(cores)) == str(cores)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("state", "healthy"), [("AVAILABLE", True), ("LOADING", False)])
def test_health_check_of_compose(compose, state, healthy):
    """The command as it stands there, asked of a server that answers as TensorFlow Serving does."""
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == f"/v1/models/{MODEL}/labels/stable"
            self.send_response(200 if known else 404)
            self.end_headers()
            status = {"model_version_status": [{"version": "1", "state": state}]}
            self.wfile.write(json.dumps(status if known else {"error": "unknown"}).encode())

        def log_message(self, *_):
            pass

    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(server.serve_forever)
        kind, *command = compose["services"]["model-server"]["healthcheck"]["test"]
        command[-1] = command[-1].replace(f"/{REST} ", f"/{server.server_port} ")
        code = subprocess.run(command, timeout=30).returncode
        server.shutdown()
    assert kind == "CMD"
    assert (code == 0) == healthy


def test_image():
    lines = read("Dockerfile")
    (version,) = re.findall(r"^FROM tensorflow/serving:(\d+\.\d+)\.\d+$", lines, re.MULTILINE)
    assert tuple(map(int, version.split("."))) >= (2, 15)
    assert re.findall(r"image: tensorflow/serving:(\d+\.\d+)", read("docker-compose.yml")) == [
        version
    ]
    command = json.loads(
        re.search(r"^CMD (\[.*?\])", lines, re.DOTALL | re.MULTILINE)[1].replace("\\", "")
    )
    check_flags(command, 4)
    copied = re.search(r"^COPY (serving/.*) /config/$", lines, re.MULTILINE)[1].split()
    assert all((SERVING.parent / path).is_file() for path in copied)
    assert {f"/config/{Path(path).name}" for path in copied} == {
        flag.split("=")[1] for flag in command if "/config/" in flag
    }


def test_selectors_match_the_pods(manifests):
    deployment = manifests["Deployment", "ner-serving"]["spec"]
    assert deployment["selector"]["matchLabels"] == POD
    assert deployment["template"]["metadata"]["labels"] == POD
    assert manifests["PodDisruptionBudget", "ner-serving"]["spec"]["selector"] == {
        "matchLabels": POD
    }
    for name in ("ner-serving", "ner-serving-pods"):
        assert manifests["Service", name]["spec"]["selector"] == POD
    target = manifests["HorizontalPodAutoscaler", "ner-serving"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in manifests
    assert manifests["Service", "ner-serving-pods"]["spec"]["clusterIP"] == "None"


def test_ports_and_paths_of_the_pods(manifests, container):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": GRPC, "rest": REST}
    for (kind, _), manifest in manifests.items():
        if kind == "Service":
            for port in manifest["spec"]["ports"]:
                assert port["port"] == ports[port["targetPort"]]
    for probe in ("startupProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked == {"path": f"/v1/models/{MODEL}/labels/stable", "port": "rest"}
    assert container["livenessProbe"]["tcpSocket"]["port"] in ports
    annotations = manifests["Deployment", "ner-serving"]["spec"]["template"]["metadata"][
        "annotations"
    ]
    assert annotations["prometheus.io/port"] == str(REST)
    assert annotations["prometheus.io/path"] == METRICS_PATH


def test_pods_have_their_files_and_cores(manifests, container):
    (kustomization,) = documents("kustomization.yaml")
    (generated,) = kustomization["configMapGenerator"]
    (volume,) = manifests["Deployment", "ner-serving"]["spec"]["template"]["spec"]["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume["configMap"]["name"] == generated["name"]
    assert (volume["name"], mount["mountPath"]) == (mount["name"], "/config")
    flags = dict(flag.split("=", 1) for flag in container["args"])
    used = {value.removeprefix("/config/") for value in flags.values() if "/config/" in value}
    assert used == set(generated["files"])
    check_flags(container["args"], int(container["resources"]["limits"]["cpu"]))
    assert container["image"] == kustomization["images"][0]["name"]


def test_a_rollout_and_an_end_lose_no_request(manifests, container):
    spec = manifests["Deployment", "ner-serving"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert wait < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert manifests["HorizontalPodAutoscaler", "ner-serving"]["spec"]["minReplicas"] >= 2


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_puts_the_manifests_together(manifests):
    command = ["kubectl", "kustomize", str(SERVING)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    built = {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(shown)}
    assert manifests.keys() <= built.keys()
    pod = built["Deployment", "ner-serving"]["spec"]["template"]["spec"]
    config = built["ConfigMap", pod["volumes"][0]["configMap"]["name"]]
    assert config["data"]["models.config"] == read("models.config")
    assert pod["containers"][0]["image"] == "registry.example.com/ner-serving:1"


def test_dashboard():
    dashboard = json.loads(read("monitoring/grafana/dashboard.json"))
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    assert len(expressions) >= 9
    used = set()
    for expression in expressions:
        assert expression.count("(") == expression.count(")")
        names = re.findall(r"(?::[\w:]+|\bup\b)", expression)
        assert names and set(names) <= METRICS.keys(), expression
        used |= set(names)
        labels = {label for name in names for label in METRICS[name]} | {"instance", "job"}
        asked = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
        grouped = [
            name for names in re.findall(r"by \((.*?)\)", expression) for name in names.split(", ")
        ]
        assert {*asked, *grouped} <= labels, expression
        found = re.findall(r"\$(\w+)", expression)
        assert set(found) <= {*variables, "__rate_interval"}
    assert len(used) >= 8
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    (source,) = documents("monitoring/grafana/datasource.yml")[0]["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_grafana_finds_the_dashboards(compose):
    (provider,) = documents("monitoring/grafana/provider.yml")[0]["providers"]
    targets = [mount.split(":")[1] for mount in compose["services"]["grafana"]["volumes"]]
    assert str(Path(targets[2]).parent) == provider["options"]["path"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls(tmp_path):
    """A server with the keys of the SSLConfig answers who trusts the authority."""
    script = SERVING / "tls" / "make_test_certificates.sh"
    subprocess.run(["bash", script, tmp_path, "ner.example"], check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ca.pem",
        "server.key",
        "server.pem",
    ]
    assert (tmp_path / "server.key").stat().st_mode & 0o77 == 0
    command = [sys.executable, SERVING / "tls" / "ssl_config.py"]
    command += [tmp_path / "server.key", tmp_path / "server.pem"]

    def written(*further):
        done = subprocess.run([*command, *further], capture_output=True, text=True, check=True)
        return parsed("SSLConfig", done.stdout)

    config = written()
    assert not config.client_verify
    authority = (tmp_path / "ca.pem").read_text()
    mutual = written("--client-ca", tmp_path / "ca.pem")
    assert (mutual.client_verify, mutual.custom_ca) == (True, authority)

    pair = (config.server_key.encode(), config.server_cert.encode())
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    trusted = grpc.ssl_channel_credentials(authority.encode())
    try:
        for options, credentials, expected in (
            ([], trusted, grpc.StatusCode.UNIMPLEMENTED),  # it answered
            (
                [("grpc.ssl_target_name_override", "ner.example")],
                trusted,
                grpc.StatusCode.UNIMPLEMENTED,
            ),
            ([], grpc.ssl_channel_credentials(), grpc.StatusCode.UNAVAILABLE),
        ):
            with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary("/any/Method")(b"", timeout=20)
                assert caught.value.code() == expected
    finally:
        server.stop(None)


def test_protoset_is_complete():
    definitions = module("clients/protoset.py").protoset()
    pool = descriptor_pool.DescriptorPool()
    for file in definitions.file:  # in an order in which each finds what it needs
        pool.Add(file)
    services = {
        f"{name}/{method.name}"
        for name in ("PredictionService", "ModelService")
        for method in pool.FindServiceByName(f"tensorflow.serving.{name}").methods
    }
    assert services >= {"PredictionService/Predict", "ModelService/GetModelStatus"}


def test_clients_in_shell_send_what_the_services_take():
    pool = descriptor_pool.DescriptorPool()
    for file in module("clients/protoset.py").protoset().file:
        pool.Add(file)
    text = read("clients/grpcurl.sh")
    for service, method in re.findall(r"tensorflow\.serving\.(\w+)/(\w+)", text):
        assert method in {
            m.name for m in pool.FindServiceByName(f"tensorflow.serving.{service}").methods
        }
    for name in re.findall(r"\\\"(\w+)\\\":", text):
        assert name in {
            "model_spec", "name", "signature_name", "inputs", "text", "dtype", "tensor_shape",
            "dim", "size", "string_val",
        }  # fmt: skip
    bodies = re.findall(r"--json '(.*?)'", read("clients/curl.sh"), re.DOTALL)
    requests = [json.loads(body) for body in bodies]
    assert [request["signature_name"] for request in requests] == ["entities", "entities", "tokens"]
    rows = np.array(requests[2]["inputs"]["tokens"])
    assert rows.ndim == 2 and set(rows[:, 0]) == {""}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("path", sorted(SERVING.rglob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0
