#!/bin/sh
# message-table.sh PROTO_ALL_H — the descriptor of every generated message, as rows of a C array.
set -eu
grep -rho 'extern const ProtobufCMessageDescriptor [A-Za-z0-9_]*;' "$(dirname "$1")/gen" |
    sed 's/.* /\&/; s/;/,/' | LC_ALL=C sort -u
