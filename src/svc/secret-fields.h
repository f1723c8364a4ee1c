/* secret-fields.h — secret values inside resources: sealed in the store, never shown again.
 *
 * A value is secret where a message has a text `value` and a true `is_secret` beside it (the
 * runtime_env of an execution, the env_spec of an agent). What a client writes is sealed before the
 * resource is stored (platform/vault.h); what a client reads is SECRET_FIELDS_MASK in its place;
 * what a runner gets at its claim is the value. A client that writes the mask back keeps what is
 * stored. Threads: any. */
#ifndef SVC_SECRET_FIELDS_H
#define SVC_SECRET_FIELDS_H

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"

#define SECRET_FIELDS_MASK "[secret]"

/* old: the stored message of the same type, or NULL. */
MUST_CHECK enum err_code secret_fields_seal(ProtobufCMessage *m, const ProtobufCMessage *old,
                                            const char *home, struct err *err);
void secret_fields_mask(ProtobufCMessage *m);

/* A stored value as it was; *ret is the caller's (explicit_bzero and free). */
MUST_CHECK enum err_code secret_fields_open(const char *home, const char *stored, char **ret,
                                            struct err *err);

#endif
