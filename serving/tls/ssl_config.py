"""Writes TensorFlow Serving's SSLConfig, which holds keys and certificates and not their paths.

    python serving/tls/ssl_config.py server.key server.pem > ssl.config
    python serving/tls/ssl_config.py server.key server.pem --client-ca clients.pem > ssl.config

With --client-ca only clients with a certificate of that authority are served. The server takes the
file as --ssl_config_file=/config/ssl.config, for gRPC; REST and the metrics stay unencrypted. It
holds the private key: `chmod 600 ssl.config`, a secret in a cluster.
"""

import argparse
from pathlib import Path


def ssl_config(key: str, certificate: str, client_ca: str | None = None) -> str:
    """PEM texts -> a text-format SSLConfig."""
    fields = {"server_key": key, "server_cert": certificate}
    if client_ca is not None:
        fields["custom_ca"] = client_ca
    lines = [f'{name}: "{_escaped(text)}"' for name, text in fields.items()]
    return "\n".join([*lines, f"client_verify: {str(client_ca is not None).lower()}"]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("key", type=Path)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--client-ca", type=Path)
    arguments = parser.parse_args()
    authority = arguments.client_ca.read_text() if arguments.client_ca else None
    key, certificate = arguments.key.read_text(), arguments.certificate.read_text()
    print(ssl_config(key, certificate, authority), end="")
