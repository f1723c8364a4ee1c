/* err.h — what went wrong, as one caller-owned value.
 *
 * A function that can fail returns enum err_code and takes `struct err *err` last.
 *   ERR_OK       outputs are set, *err is untouched.
 *   other        outputs are untouched, *err is filled; err may be NULL.
 * Nothing here allocates: an error can be told when memory is what failed.
 *
 * One table (err.c) says what each code is as a gRPC status, an HTTP status and an exit code of
 * the CLI; no other file translates between them. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_code {
    ERR_OK,
    ERR_INVALID, /* the caller's input is wrong; retrying cannot help */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_CONFLICT, /* lost a race on a version or an epoch; re-read and retry */
    ERR_STATE,    /* right input at the wrong time (a terminal execution, …) */
    ERR_DENIED,   /* permission or policy */
    ERR_UNAUTHENTICATED,
    ERR_UNAVAILABLE, /* the other side is away; retry with back-off */
    ERR_NOT_RUNNING, /* our own server is not there */
    ERR_TIMEOUT,
    ERR_CANCELLED,
    ERR_LIMIT,    /* a stated limit was reached */
    ERR_BUDGET,   /* the run's budget is used up */
    ERR_SANDBOX,  /* a sandbox layer, a container engine or Temporal's program is missing */
    ERR_APPROVAL, /* a person must decide first */
    ERR_UNSUPPORTED,
    ERR_IO,
    ERR_CORRUPT, /* stored data breaks its own rules; never retry */
    ERR_INTERNAL,
    ERR_COUNT
};

/* What the CLI exits with. 0, 1, 2 and 130 are what every shell script expects. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_RUNNING = 3,
    EXIT_NOT_FOUND = 4,
    EXIT_REFUSED = 5,
    EXIT_APPROVAL = 6,
    EXIT_BUDGET = 7,
    EXIT_TIMEOUT = 8,
    EXIT_CONFLICT = 9,
    EXIT_SANDBOX = 10,
    EXIT_INTERRUPTED = 130
};

struct err {
    enum err_code code;
    int sys;        /* errno, or 0 */
    char msg[1024]; /* what failed and why, one line unless it lists violations */
    char hint[240]; /* what to do about it; may be empty */
};

#define ERR_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MUST_CHECK __attribute__((warn_unused_result))

/* Fill err and hand the code back, so that failing is one line. Clears the hint. */
enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Same, with the code chosen from errno and strerror appended. */
enum err_code err_sys(struct err *err, int sys, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Put context in front of the message on the way up; keeps the hint; returns code. */
enum err_code err_wrap(struct err *err, enum err_code code, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Say what the user can do. Returns err's code, so `return err_hint(err, code, …)` works. */
enum err_code err_hint(struct err *err, enum err_code code, const char *fmt, ...) ERR_PRINTF(3, 4);

const char *err_code_name(enum err_code code);  /* "NOT_FOUND": stable, read by scripts */
enum err_code err_code_named(const char *name); /* ERR_INTERNAL for a name that is none */
int err_code_grpc(enum err_code code);          /* google.rpc.Code number */
enum err_code err_code_from_grpc(int status);
int err_code_http(enum err_code code);
enum exit_code err_code_exit(enum err_code code);

#endif
