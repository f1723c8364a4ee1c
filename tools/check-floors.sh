#!/bin/sh
# A file may include only from the floors listed for its own (docs/design/0001-floors.md), and
# clients do not know each other: clients/docker-*.c may use clients/docker*.h, nothing else there.
# The compiler enforces the first half too (tools/include-dirs.sh); this says it in words.
cd "$(dirname "$0")/.." && grep -rn '^#include "[a-z]*/' src --include='*.[ch]' | awk -F'[:/"]' '
BEGIN {
    may["base"] = "base"
    may["wire"] = "base wire"
    may["platform"] = "base wire platform"
    may["clients"] = "base wire platform clients"
    may["core"] = "base core"
    may["svc"] = "base wire platform clients core svc"
    may["prog"] = "base wire platform clients core svc prog"
    generated = " ai stigmer grpc google protobuf temporal "
}
{
    split($0, q, "\""); split(q[2], part, "/"); to = part[1]
    if (index(generated, " " to " ")) next
    own = $3; sub("[-.].*", "", own)
    other = part[2]; sub("[-.].*", "", other)
    if (index(" " may[$2] " ", " " to " ") == 0) { print $0 ": " $2 " may not include " to; bad = 1 }
    if ($2 == "clients" && to == "clients" && own != other) { print $0 ": clients are strangers"; bad = 1 }
}
END { exit bad }'
