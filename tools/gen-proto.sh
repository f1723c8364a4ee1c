#!/bin/sh
# gen-proto.sh PROTO_DIR OUT_DIR — C from every .proto file below PROTO_DIR.
#
# Our files stay free of generator options, so that what reflection serves is exactly what is
# written there. Copies get a short C package (ai.stigmer.agentic.agent.v1.Agent becomes
# Agent__Agent), then protoc-c makes C of them. Made in OUT_DIR:
#   proto-all.c   includes every generated .c file, so the build compiles one unit
#   proto-all.h   includes every generated header
#   proto-set.c   the serialized FileDescriptorSet of the originals, for reflection
set -eu
src=$(cd "$1" && pwd)
mkdir -p "$2/gen"
out=$(cd "$2" && pwd)
gen=$out/gen

c_package() {
    case $1 in
    ai.stigmer.agentic.agent.v1) echo agent ;;
    ai.stigmer.agentic.agentinstance.v1) echo ainst ;;
    ai.stigmer.agentic.agentexecution.v1) echo aexec ;;
    ai.stigmer.agentic.session.v1) echo sess ;;
    ai.stigmer.agentic.environment.v1) echo env ;;
    ai.stigmer.agentic.executioncontext.v1) echo ectx ;;
    ai.stigmer.agentic.skill.v1) echo skill ;;
    ai.stigmer.agentic.mcpserver.v1) echo mcp ;;
    ai.stigmer.commons.apiresource) echo meta ;;
    ai.stigmer.commons.apiresource.apiresourcekind) echo kind ;;
    ai.stigmer.commons.rpc) echo page ;;
    stigmer.execution.v1) echo exec ;;
    stigmer.runner.v1) echo runner ;;
    stigmer.resource.v1) echo res ;;
    stigmer.test.v1) echo testpb ;;
    grpc.health.v1) echo health ;;
    grpc.reflection.v1) echo refl ;;
    grpc.reflection.v1alpha) echo refla ;;
    temporal.api.enums.v1) echo tenum ;;
    temporal.api.common.v1) echo tcom ;;
    temporal.api.failure.v1) echo tfail ;;
    temporal.api.taskqueue.v1) echo tqueue ;;
    temporal.api.query.v1) echo tquery ;;
    temporal.api.command.v1) echo tcmd ;;
    temporal.api.history.v1) echo thist ;;
    temporal.api.workflow.v1) echo twork ;;
    temporal.api.namespace.v1) echo tspace ;;
    temporal.api.workflowservice.v1) echo tsvc ;;
    *)
        echo "gen-proto.sh: package '$1' has no C name; add one" >&2
        exit 1
        ;;
    esac
}

files=$(cd "$src" && find . -name '*.proto' | sed 's|^\./||' | LC_ALL=C sort)
wkt="any duration timestamp struct descriptor"
for f in $files; do
    pkg=$(sed -n 's/^package \(.*\);.*/\1/p' "$src/$f")
    c=$(c_package "$pkg")
    mkdir -p "$gen/copy/$(dirname "$f")"
    awk -v c="$c" '{ print } /^package / {
        print "import \"protobuf-c/protobuf-c.proto\";"
        print "option (pb_c_file).c_package = \"" c "\";" }' "$src/$f" > "$gen/copy/$f"
done
for w in $wkt; do
    protoc-c -I /usr/include --c_out="$gen" "/usr/include/google/protobuf/$w.proto"
done
(cd "$gen/copy" && protoc-c -I . -I /usr/include --c_out="$gen" $files)
(cd "$src" && protoc -I . -I /usr/include --include_imports -o "$gen/proto.pbset" $files)

{
    for w in $wkt; do echo "#include \"google/protobuf/$w.pb-c.c\""; done
    for f in $files; do echo "#include \"${f%.proto}.pb-c.c\""; done
} > "$out/proto-all.c"
{
    echo "#ifndef PROTO_ALL_H"
    echo "#define PROTO_ALL_H"
    echo "#include <stddef.h>"
    for w in $wkt; do echo "#include \"google/protobuf/$w.pb-c.h\""; done
    for f in $files; do echo "#include \"${f%.proto}.pb-c.h\""; done
    echo "extern const unsigned char proto_set[], proto_set_end[];"
    echo "#endif"
} > "$out/proto-all.h"
cat > "$out/proto-set.c" <<EOT
__asm__(".section .rodata\n.globl proto_set\n.globl proto_set_end\n"
        "proto_set:\n.incbin \"$gen/proto.pbset\"\nproto_set_end:\n.byte 0\n.previous\n");
EOT
