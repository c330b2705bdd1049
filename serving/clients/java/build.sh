#!/usr/bin/env bash
# Compiles the Java client against Debian's packages:
#   apt install default-jdk protobuf-compiler protobuf-compiler-grpc-java-plugin libgrpc-java \
#     libprotobuf-java libguava-java libnetty-java libperfmark-java libgeronimo-annotation-1.3-spec-java
#   serving/clients/java/build.sh BUILD && \
#     java -cp "$(cat BUILD/classpath)" NerClient localhost:8500 ner_conll2003 "Anna lives in Rio."
# Elsewhere take io.grpc:grpc-netty, grpc-protobuf and grpc-stub from Maven; steps 1 to 3 are the same.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "${1:?BUILD is missing}" && cd "$1"
mkdir -p generated classes
# 1. The services' definitions, from tensorflow-serving-api.
mapfile -t files < <("${PYTHON:-python3}" "$here/../protoset.py" serving.protoset | grep -v ^google/)
# 2. The same as Java sources.
protoc --descriptor_set_in=serving.protoset --java_out=generated \
  --plugin=protoc-gen-grpc=/usr/bin/grpc_java_plugin --grpc_out=generated "${files[@]}"
# 3. Classes. @Generated is no longer in the JDK.
jars="$(printf '%s:' /usr/share/java/{grpc-*,protobuf,guava,netty-*,perfmark-*,opencensus-*}.jar \
  /usr/share/java/geronimo-annotation-1.3-spec.jar)"
find generated "$here" -name '*.java' > sources
javac -nowarn -d classes -cp "$jars" @sources
echo "$PWD/classes:$jars" > classpath
