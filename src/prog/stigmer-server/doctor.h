/* doctor.h — `stigmer-server --doctor`: looks at what a start needs and prints JSON of schema
 * stigmer.cli/doctor/v1. Exit 0, or 1 when a check fails. Changes nothing. */
#ifndef PROG_STIGMER_SERVER_DOCTOR_H
#define PROG_STIGMER_SERVER_DOCTOR_H

#include <stdbool.h>

#include "core/paths.h"
#include "prog/stigmer-server/settings.h"

/* online: one cheap call of the model may be made. */
int doctor_main(const struct settings_args *args, const struct paths *paths, bool online);

#endif
