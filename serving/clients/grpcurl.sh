#!/usr/bin/env bash
# gRPC with grpcurl: serving/clients/grpcurl.sh [ADDRESS] [MODEL]
# Needs serving.protoset (`python serving/clients/protoset.py serving.protoset`) in this folder;
# `kerasner serve` has reflection and needs no such file. For TLS: -cacert ca.pem for -plaintext.
set -euo pipefail
address="${1:-localhost:8500}" model="${2:-ner_conll2003}"
call() { grpcurl -plaintext -protoset serving.protoset -max-time 30 -d "$1" "$address" "$2"; }

call "{\"model_spec\": {\"name\": \"$model\"}}" tensorflow.serving.ModelService/GetModelStatus

# Strings are bytes, and bytes are base64 in grpcurl's JSON.
text="$(printf 'Bernhard Riemann lived in Göttingen.' | base64 --wrap=0)"
call "{
  \"model_spec\": {\"name\": \"$model\", \"signature_name\": \"entities\"},
  \"inputs\": {\"text\": {
    \"dtype\": \"DT_STRING\",
    \"tensor_shape\": {\"dim\": [{\"size\": 1}]},
    \"string_val\": [\"$text\"]
  }}
}" tensorflow.serving.PredictionService/Predict
