#!/bin/sh
# build-image.sh RUNNER OUT.tar — the runner's image as an archive for `docker load`, made without a
# container engine, and beside it OUT.id with the image's id. The same inputs give the same bytes.
#
# Format: moby's image specification 1.2 (image/spec/v1.2.md): manifest.json, the configuration named
# by its sha256, and one layer.
set -eu
[ $# -eq 2 ] || { echo "usage: scripts/build-image.sh RUNNER OUT.tar" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
runner=$1 out=$2
tag=stigmer-agent-runner:local

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/image/rootfs.sh" "$runner" "$work/layer.tar"
sum() { sha256sum "$1" | cut -d' ' -f1; }
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac

# the label tells `stigmer image ls` and doctor which version is in there
version=$("$runner" version | sed 's/^agent-runner //')
config=$(tr -d '\n' < "$here/image/config.json" | sed "s/  */ /g; s/\"ai.stigmer.component\"/\"ai.stigmer.version\": \"$version\", &/")
printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"stigmer scripts/build-image.sh"}]}' \
    "$arch" "$config" "$(sum "$work/layer.tar")" > "$work/config.json"
id=$(sum "$work/config.json")
mv "$work/config.json" "$work/$id.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]\n' "$id" "$tag" > "$work/manifest.json"
chmod 644 "$work"/*
tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -cf "$out.new" \
    manifest.json "$id.json" layer.tar
printf 'sha256:%s\n' "$id" > "$out.id.new"
mv -f "$out.new" "$out"
mv -f "$out.id.new" "$out.id"
echo "image: $tag sha256:$(echo "$id" | cut -c1-12), $(($(wc -c < "$out") / 1000)) kB" >&2
