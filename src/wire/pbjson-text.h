/* pbjson-text.h — the leaf forms of the proto3 JSON mapping as text, and what a descriptor says
 * about a field. For pbjson's two halves. */
#ifndef WIRE_PBJSON_TEXT_H
#define WIRE_PBJSON_TEXT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum pbjson_wkt {
    PBJSON_PLAIN,
    PBJSON_TIMESTAMP,
    PBJSON_DURATION,
    PBJSON_STRUCT,
    PBJSON_VALUE,
    PBJSON_LIST,
    PBJSON_ANY
};
enum pbjson_wkt pbjson_text_wkt(const ProtobufCMessageDescriptor *d);
bool pbjson_text_is_map(const ProtobufCFieldDescriptor *f);
size_t pbjson_text_size(ProtobufCType type); /* of one value in memory */

/* "env_spec" → "envSpec". Names longer than the space are cut. */
#define PBJSON_NAME 128
void pbjson_text_camel(const char *name, char ret[PBJSON_NAME]);

/* Fewest digits that read back the same; not for NaN and infinities. is_float: as a float. */
void pbjson_text_real(double v, bool is_float, char ret[40]);

/* False when the value is outside what the form can say. */
bool pbjson_text_timestamp(int64_t seconds, int32_t nanos, char ret[40]);
bool pbjson_text_parse_timestamp(const char *s, int64_t *ret_seconds, int32_t *ret_nanos);
bool pbjson_text_duration(int64_t seconds, int32_t nanos, char ret[40]);
bool pbjson_text_parse_duration(const char *s, int64_t *ret_seconds, int32_t *ret_nanos);

#endif
