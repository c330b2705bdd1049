#!/usr/bin/env bash
# REST with curl: serving/clients/curl.sh [ADDRESS] [MODEL]
set -euo pipefail
url="http://${1:-localhost:8501}/v1/models/${2:-ner_conll2003}"
call() { curl --silent --show-error --fail-with-body --max-time 30 "$@"; echo; }

call "$url"          # which versions are there, and in which state
call "$url/metadata" # signatures, dtypes and shapes

# Entities of two texts. An answer is a table: each row is padded with "" and 0 after `counts`.
call "$url:predict" --json '{
  "signature_name": "entities",
  "inputs": {"text": ["Bernhard Riemann lived in Göttingen.", "Nobody came."]}
}'

# The same by rows: with "instances" each text has an answer of its own.
call "$url:predict" --json '{
  "signature_name": "entities",
  "instances": [{"text": "Bernhard Riemann lived in Göttingen."}, {"text": "Nobody came."}]
}'

# Words that are already split, padded with "". The first column of "" is for servers that batch
# (see serving/batching_parameters.txt).
call "$url:predict" --json '{
  "signature_name": "tokens",
  "inputs": {"tokens": [["", "Bernhard", "Riemann", "died"], ["", "Nobody", "came", ""]]}
}'
