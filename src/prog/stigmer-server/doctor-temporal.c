/* Temporal, when it is the engine: its program, its address, its port. */
#include "base/own.h"
#include "base/str.h"
#include "clients/temporal.h"
#include "platform/sock.h"
#include "prog/stigmer-server/doctor-impl.h"
#include "prog/stigmer-server/temporal-access.h"
#include "prog/stigmer-server/temporal-unit.h"

#define ASK_MS 3000

/* ---- one question after the other ---------------------------------------------------------- */

struct question {
    struct loop *loop;
    struct temporal *temporal;
    char version[64];
    bool has_namespace;
    struct err why; /* code ERR_OK: it answered */
};

static void on_namespace(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct question *q = arg;

    q->has_namespace = answer != NULL;
    if (err && err->code != ERR_NOT_FOUND)
        q->why = *err;
    loop_quit(q->loop);
}

static void on_info(const ProtobufCMessage *answer, const struct err *err, void *arg)
{
    struct question *q = arg;
    Tsvc__DescribeNamespaceRequest r = TSVC__DESCRIBE_NAMESPACE_REQUEST__INIT;

    if (err) {
        q->why = *err;
        loop_quit(q->loop);
        return;
    }
    (void)str_format(q->version, sizeof q->version, "%s",
                     ((const Tsvc__GetSystemInfoResponse *)answer)->server_version);
    temporal_call(q->temporal, TEMPORAL_DESCRIBE_NAMESPACE, &r.base, ASK_MS, on_namespace, q);
}

static void ask(const struct doctor *d, struct question *q)
{
    Tsvc__GetSystemInfoRequest r = TSVC__GET_SYSTEM_INFO_REQUEST__INIT;
    struct temporal_access access = {0};
    struct temporal_options o;

    if (temporal_access_open(&d->config, &access, &q->why))
        return;
    temporal_access_options(&d->config, &access, &o);
    o.identity = "stigmer doctor";
    q->loop = loop_new();
    if (temporal_new(q->loop, &o, &q->temporal, &q->why) == ERR_OK) {
        temporal_call(q->temporal, TEMPORAL_GET_SYSTEM_INFO, &r.base, ASK_MS, on_info, q);
        loop_run(q->loop);
        temporal_free(q->temporal);
    }
    loop_free(q->loop);
    temporal_access_done(&access);
}

/* ---- checks ------------------------------------------------------------------------------ */

static void check_binary(struct doctor *d)
{
    char program[PATHS_MAX];
    struct err err;

    if (temporal_unit_program(&d->config, program, &err))
        doctor_say(d, "temporal.binary", DOCTOR_FAIL,
                   *err.hint ? err.hint : "stigmer config unset temporal.binary", "%s", err.msg);
    else
        doctor_say(d, "temporal.binary", DOCTOR_OK, "", "%s", program);
}

/* is_up: this home's server runs, and so does what it has started. */
static void check_port(struct doctor *d, bool is_up)
{
    const char *address = config_get_str(&d->config, CONFIG_TEMPORAL_ADDRESS);
    struct temporal_unit_place place;
    OWN_FD int fd = -1;
    struct err err;

    if (temporal_unit_place(&d->config, &place, &err))
        doctor_say(d, "temporal.port", DOCTOR_FAIL, err.hint, "%s", err.msg);
    else if (is_up)
        doctor_say(d, "temporal.port", DOCTOR_OK, "", "%s is held by this home's stack", address);
    else if (sock_listen(address, 0, &fd, &err))
        doctor_say(d, "temporal.port", DOCTOR_FAIL,
                   "stigmer config set temporal.address 127.0.0.1:PORT with temporal.managed true; "
                   "or temporal.managed false, to use what is there",
                   "%s", err.msg);
    else
        doctor_say(d, "temporal.port", DOCTOR_OK, "", "%s is free", address);
}

static void check_reach(struct doctor *d, bool is_managed)
{
    const char *address = config_get_str(&d->config, CONFIG_TEMPORAL_ADDRESS);
    const char *namespace = config_get_str(&d->config, CONFIG_TEMPORAL_NAMESPACE);
    struct question q = {0};
    char hint[200];

    ask(d, &q);
    (void)str_format(hint, sizeof hint,
                     "temporal operator namespace create -n %.60s, or set temporal.namespace",
                     namespace);
    if (q.why.code)
        doctor_say(d, "temporal.reach", DOCTOR_FAIL,
                   is_managed ? "stigmer server logs -c temporal"
                              : "start it, or set temporal.address; executions wait meanwhile",
                   "%s", q.why.msg);
    else if (!q.has_namespace && !is_managed)
        doctor_say(d, "temporal.reach", DOCTOR_FAIL, hint,
                   "%s answers (version %s), but has no namespace '%s'", address, q.version,
                   namespace);
    else
        doctor_say(d, "temporal.reach", DOCTOR_OK, "", "%s answers (version %s), namespace '%s'",
                   address, q.version, namespace);
}

/* The embedded engine needs none of it: then this only informs. */
static void say_unused(struct doctor *d)
{
    const char *engine = config_get_str(&d->config, CONFIG_ENGINE);
    char program[PATHS_MAX];

    if (temporal_unit_program(&d->config, program, NULL))
        doctor_say(d, "temporal", DOCTOR_OK, "",
                   "the engine is %s, which needs no Temporal; there is no program '%.200s'",
                   engine, config_get_str(&d->config, CONFIG_TEMPORAL_BINARY));
    else
        doctor_say(d, "temporal", DOCTOR_OK, "", "the engine is %s; the program is %s", engine,
                   program);
}

void doctor_temporal(struct doctor *d)
{
    bool is_managed = config_temporal_is_managed(&d->config), is_up = doctor_server_answers(d);

    if (!str_eq(config_get_str(&d->config, CONFIG_ENGINE), "temporal")) {
        say_unused(d);
        return;
    }
    if (is_managed) {
        check_binary(d);
        check_port(d, is_up);
    }
    if (is_managed && !is_up)
        doctor_say(d, "temporal.reach", DOCTOR_OK, "", "not asked: it is started with the server");
    else
        check_reach(d, is_managed);
}
