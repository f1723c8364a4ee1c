/* schema.h — every version of the store's schema, oldest first. A released step never changes. */
#ifndef SVC_SCHEMA_H
#define SVC_SCHEMA_H

#include "platform/store.h"

const struct store_schema *schema(void);

#endif
