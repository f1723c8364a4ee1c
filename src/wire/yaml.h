/* yaml.h — YAML text (so JSON text too) to jansson values, on libyaml.
 *
 * Any number of documents. Plain scalars follow YAML 1.2's core schema: true/false, null and ~,
 * decimal, 0x and 0o integers, floats, .inf/.nan refused; anything quoted or in a block stays text
 * (yes, no, on, off and 2026-01-31 are text). Mapping keys become text. Duplicate keys are refused,
 * so are tags other than the core ones, merge keys (<<) and NUL. Integers beyond 64 bits become
 * floats. Aliases are expanded; every expanded node counts against the limit.
 *
 * Errors name file, line and column. For errors found later ("unknown field spec.foo") the place
 * of each value is kept: yaml_docs_where.
 * Ownership: the docs own everything they hand out. Threads: any; no shared state. */
#ifndef WIRE_YAML_H
#define WIRE_YAML_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct yaml_limits {  /* 0 takes the default */
    size_t bytes;     /* 4 MiB */
    size_t nodes;     /* 100,000 over all documents, aliases expanded */
    size_t documents; /* 1,000 */
    unsigned depth;   /* 64 */
};

struct yaml_docs;

/* name: of the file, for messages ("-" is shown as standard input). Empty documents (nothing but
 * comments) are left out. */
MUST_CHECK enum err_code yaml_docs_parse(const void *text, size_t len, const char *name,
                                         const struct yaml_limits *limits, struct yaml_docs **ret,
                                         struct err *err);
void yaml_docs_free(struct yaml_docs *docs);

size_t yaml_docs_count(const struct yaml_docs *docs);
const json_t *yaml_docs_root(const struct yaml_docs *docs, size_t i);

/* Line and column, from 1, of the value at path ("" is the document; jsonpath.h has the form); for
 * a path that is not there, of its nearest parent that is. For a mapping's value the place is its
 * key's. False for an empty docs or an i out of range. */
bool yaml_docs_where(const struct yaml_docs *docs, size_t i, const char *path, unsigned *ret_line,
                     unsigned *ret_column);

#endif
