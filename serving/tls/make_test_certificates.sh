#!/usr/bin/env bash
# Makes an authority and a certificate FOR TESTS, good for 30 days:
#   serving/tls/make_test_certificates.sh DIR [HOST ...]
# Writes ca.pem, server.pem and server.key to DIR. In production take those of your own authority.
set -euo pipefail
cd "${1:?DIR is missing}"
names="DNS:localhost,IP:127.0.0.1"
for host in "${@:2}"; do names+=",DNS:$host"; done
umask 077 # keys are for their owner alone
quietly() { # openssl's progress goes to stderr, as its errors do
  if ! log=$("$@" 2>&1); then
    echo "$log" >&2
    return 1
  fi
}
quietly openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=test authority" \
  -keyout ca.key -out ca.pem
quietly openssl req -newkey rsa:2048 -nodes -subj "/CN=${2:-localhost}" \
  -keyout server.key -out server.csr
quietly openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
  -extfile <(echo "subjectAltName=$names") -out server.pem
rm ca.key ca.srl server.csr
chmod 644 ca.pem server.pem # which hold no secret
