/* jsonpath.h — how a place inside a document is written in errors: spec.mcp_servers[2].name;
 * a key that is not a plain word is quoted: metadata.labels["a.b"]. The readers of JSON and YAML
 * share it, so that a path from one finds its line in the other. */
#ifndef WIRE_JSONPATH_H
#define WIRE_JSONPATH_H

#include <stddef.h>

#include "base/buf.h"

/* Append one step. The caller cuts back with jsonpath_cut(path, length before). */
void jsonpath_key(struct buf *path, const char *key);
void jsonpath_index(struct buf *path, size_t index);
void jsonpath_cut(struct buf *path, size_t len);

#endif
