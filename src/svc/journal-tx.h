/* journal-tx.h — what journal.c needs of journal-tx.c beyond journal.h: one row as an event. */
#ifndef SVC_JOURNAL_TX_H
#define SVC_JOURNAL_TX_H

#include <sqlite3.h>

#include "base/err.h"
#include "stigmer/execution/v1/event.pb-c.h"

/* The columns every read of events selects, in this order. */
#define JOURNAL_TX_COLUMNS "e.seq, e.epoch, e.at_ms, coalesce(e.data, b.data)"
#define JOURNAL_TX_FROM "event e LEFT JOIN blob b ON b.hash = e.hash"

/* The event of the row st stands on; the caller's. */
MUST_CHECK enum err_code journal_tx_row(sqlite3_stmt *st, Exec__Event **ret, struct err *err);

#endif
