/* out.h — what goes to stdout: text made safe for a terminal, tables, JSON and YAML.
 * Everything is collected in a buf and written in one go by out_flush, so that a result is whole
 * or absent; streams flush line by line. */
#ifndef PROG_STIGMER_OUT_H
#define PROG_STIGMER_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "prog/stigmer/cli.h"

#define OUT_DEPTH 24 /* levels of YAML nesting that are printed */

/* Append text; on a terminal control characters other than newline and tab, and bytes that are
 * no UTF-8, show as \x1b: foreign text never drives the terminal. */
void out_text(struct buf *b, const char *text, size_t len, bool for_terminal);

/* Write all of b to fd and empty it. False when the other side is gone. */
bool out_flush(int fd, struct buf *b);

/* At the end of main: standard output took all that was printed. A reader that left early (head)
 * is no fault. */
bool out_is_complete(void);

/* A text table: column widths follow the content, two spaces between. */
struct out_table {
    size_t columns;
    char **cells; /* owned */
    size_t count;
};
void out_table_row(struct out_table *t, const char *const cells[]); /* NULL-ended; first: heads */
void out_table_done(struct out_table *t, struct buf *b, bool for_terminal); /* prints and frees */

/* Print one document in the format asked for: JSON (indented), YAML, JSONL (one line). */
void out_document(const struct cli *cli, const json_t *doc);

/* The same as text, for who writes elsewhere. */
void out_yaml(struct buf *b, const json_t *doc);

/* "3s", "5m", "2h", "4d": how long ago, as tables show it. */
void out_age(int64_t from_ms, int64_t now_ms, char ret[24]);

/* "0 B", "4.1 kB", "12.3 MB": as tables show it. */
void out_size(int64_t bytes, char ret[32]);

/* Colour codes, "" when colours are off: 'r'ed, 'g'reen, 'y'ellow, 'd'im, 'b'old, '0' reset. */
const char *out_color(bool on, char which);

#endif
