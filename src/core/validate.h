/* validate.h — the validation rules of the four resources (contract: stigmer-api.md), all
 * violations at once: "validation errors:\n - metadata: is required\n - …". Pure. */
#ifndef CORE_VALIDATE_H
#define CORE_VALIDATE_H

#include "core/resource.h"

MUST_CHECK enum err_code validate_resource(const struct resource *m, const struct resource_kind *k,
                                           struct err *err);
MUST_CHECK enum err_code validate_reference(const Meta__ApiResourceReference *r,
                                            const struct resource_kind *k, struct err *err);

#endif
