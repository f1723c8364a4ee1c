/* run, attach and logs RUN: an execution is started, or found, and followed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/ulid.h"
#include "prog/stigmer/cli.h"
#include "prog/stigmer/cmds.h"
#include "prog/stigmer/conn.h"
#include "prog/stigmer/follow.h"
#include "prog/stigmer/kinds.h"
#include "prog/stigmer/message.h"
#include "prog/stigmer/out.h"
#include "prog/stigmer/settings.h"

#define MESSAGE_MAX ((size_t)2 << 20) /* one request holds 4 MiB */
#define CASSETTE_MAX ((size_t)3 << 20)
#define SECRET_PREFIX "secret:"

/* What is asked for, gathered before the server is spoken to. */
/* The first line of a recording; the runner reads it back (clients/model-cassette.h). */
#define CASSETTE_HEADER "{\"schema\":\"stigmer.cassette/v1\"}\n"

struct task {
    struct buf message, cassette;
    size_t env_count;
    Aexec__AgentExecutionSpec__RuntimeEnvEntry *entries; /* owned; texts within are owned */
    Aexec__AgentExecutionSpec__RuntimeEnvEntry **env;
    Ectx__ExecutionValue *values;
    int record_fd;
    char *folder; /* owned (free); NULL: none of one's own */
};

static void task_done(struct task *t)
{
    for (size_t i = 0; i < t->env_count; i++) {
        explicit_bzero(t->values[i].value, strlen(t->values[i].value));
        free(t->entries[i].key);
        free(t->values[i].value);
    }
    free(t->entries);
    free(t->env);
    free(t->values);
    free(t->folder);
    buf_done(&t->message);
    buf_done(&t->cassette);
    own_fd(&t->record_fd);
}

static enum err_code read_env(const struct cli *cli, struct task *t, struct err *err)
{
    size_t n = args_count(&cli->args, "runtime-env");

    t->entries = mem_array(n, sizeof *t->entries);
    t->values = mem_array(n, sizeof *t->values);
    t->env = mem_array(n, sizeof(void *));
    for (size_t i = 0; i < n; i++) {
        const char *pair = args_nth(&cli->args, "runtime-env", i);
        bool secret = str_starts(pair, SECRET_PREFIX);
        const char *key = pair + (secret ? strlen(SECRET_PREFIX) : 0), *equal = strchr(key, '=');
        const char *value;
        if (!equal || equal == key)
            return err_set(err, ERR_INVALID, "--runtime-env: '%.40s…' is not KEY=VALUE",
                           equal ? "" : key);
        value = secret ? getenv(equal + 1) : equal + 1;
        if (!value)
            return err_set(err, ERR_INVALID, "--runtime-env: the variable %.80s is not set",
                           equal + 1);
        aexec__agent_execution_spec__runtime_env_entry__init(&t->entries[i]);
        ectx__execution_value__init(&t->values[i]);
        t->entries[i].key = mem_strn(key, (size_t)(equal - key));
        t->values[i].value = mem_str(value);
        t->values[i].is_secret = secret;
        t->entries[i].value = &t->values[i];
        t->env[i] = &t->entries[i];
        t->env_count++;
    }
    return ERR_OK;
}

/* As the server will see it; what may be one is its decision. */
static enum err_code read_folder(const struct cli *cli, struct task *t, struct err *err)
{
    const char *dir = args_str(&cli->args, "workspace", NULL);

    if (!dir)
        return ERR_OK;
    t->folder = realpath(dir, NULL);
    return t->folder ? ERR_OK
                     : err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INVALID,
                               "--workspace: '%.300s': %s", dir, strerror(errno));
}

static enum err_code read_task(const struct cli *cli, struct task *t, struct err *err)
{
    const char *replay = args_str(&cli->args, "replay", NULL);
    const char *record = args_str(&cli->args, "record", NULL);
    enum err_code code = message_read(cli, "run", MESSAGE_MAX, &t->message, err);

    if (!code)
        code = read_env(cli, t, err);
    if (!code)
        code = read_folder(cli, t, err);
    if (!code && replay && record)
        code = err_set(err, ERR_INVALID, "--record and --replay exclude each other");
    if (!code && record && !args_bool(&cli->args, "follow", true))
        code = err_set(err, ERR_INVALID, "--record needs to follow the run");
    if (!code && replay)
        code = settings_read_file(replay, CASSETTE_MAX, &t->cassette, err);
    if (!code && record) {
        t->record_fd = open(record, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (t->record_fd < 0 || write(t->record_fd, CASSETTE_HEADER, strlen(CASSETTE_HEADER)) !=
                                    (ssize_t)strlen(CASSETTE_HEADER))
            code = err_sys(err, errno, "cannot write %s", record);
    }
    return code;
}

/* ---- which agent ------------------------------------------------------------------------- */

static enum err_code only_agent(struct conn *conn, struct kinds_any **ret, struct err *err)
{
    const struct kind *k = kinds_by_word("agents");
    OWN_BUF struct buf names = {0};
    struct kinds_list list = {0};
    enum err_code code = kinds_list(conn, k, NULL, 20, &list, err);

    if (code)
        return code;
    for (size_t i = 0; i < list.count; i++)
        buf_printf(&names, "%s%.60s", i ? ", " : "", kinds_slug(list.items[i]));
    if (list.count == 1) {
        *ret = list.items[0];
        list.count = 0;
    } else if (!list.count) {
        err_set(err, ERR_NOT_FOUND, "there is no agent yet");
        code = err_hint(err, ERR_NOT_FOUND, "stigmer apply -f agent.yaml");
    } else {
        err_set(err, ERR_INVALID, "which agent? There are %s", buf_text(&names));
        code = err_hint(err, ERR_INVALID, "stigmer run AGENT -m \"…\"");
    }
    kinds_list_done(&list);
    return code;
}

/* A session knows its agent; without one an agent is named, or is the only one there is. */
static enum err_code find_agent(const struct cli *cli, struct conn *conn, struct kinds_any **ret,
                                struct err *err)
{
    const char *name = cli_word(cli, 0);

    *ret = NULL;
    if (name)
        return kinds_find(conn, kinds_by_word("agents"), name, ret, err);
    if (args_has(&cli->args, "session"))
        return ERR_OK;
    return only_agent(conn, ret, err);
}

static enum err_code submit(const struct cli *cli, struct conn *conn, const struct task *t,
                            const struct kinds_any *agent, struct kinds_any **ret, struct err *err)
{
    Aexec__AgentExecution x = AEXEC__AGENT_EXECUTION__INIT;
    Aexec__AgentExecutionSpec spec = AEXEC__AGENT_EXECUTION_SPEC__INIT;
    Aexec__ExecutionConfig config = AEXEC__EXECUTION_CONFIG__INIT;
    Meta__ApiResourceMetadata meta = META__API_RESOURCE_METADATA__INIT;
    char name[16 + ULID_LEN + 1] = "run-";

    ulid_make(clock_wall_ms(), name + strlen(name));
    meta.name = name;
    meta.org = (char *)(uintptr_t) "local";
    spec.message = (char *)(uintptr_t)buf_text(&t->message);
    spec.session_id = (char *)(uintptr_t)args_str(&cli->args, "session", "");
    if (t->folder)
        spec.workspace_dir = t->folder;
    if (agent)
        spec.agent_id = (char *)(uintptr_t)kinds_id(agent);
    if (args_has(&cli->args, "model")) {
        config.model_name = (char *)(uintptr_t)args_str(&cli->args, "model", "");
        spec.execution_config = &config;
    }
    spec.n_runtime_env = t->env_count;
    spec.runtime_env = t->env;
    spec.cassette = (ProtobufCBinaryData){t->cassette.len, t->cassette.data};
    spec.record = t->record_fd >= 0;
    x.api_version = (char *)(uintptr_t) "agentic.stigmer.ai/v1";
    x.kind = (char *)(uintptr_t) "AgentExecution";
    x.metadata = &meta;
    x.spec = &spec;
    return kinds_command(conn, kinds_by_word("execution"), "create", &x.base, ret, err);
}

static int show_run(const struct cli *cli, struct conn *conn, const struct task *t, const char *id)
{
    struct follow_how how = {.execution_id = id,
                             .owns = true,
                             .to_the_end = true,
                             .record_fd = t->record_fd,
                             .timeout_ms = cli->timeout_ms};

    if (args_bool(&cli->args, "detach", false) || !args_bool(&cli->args, "follow", true)) {
        json_t *o;
        if (cli->format == CLI_TEXT) {
            printf("%s\n", id);
            fflush(stdout);
            return EXIT_OK;
        }
        o = json_pack("{s:s, s:s}", "schema", "stigmer.cli/run/v1", "executionId", id);
        out_document(cli, o);
        json_decref(o);
        return EXIT_OK;
    }
    if (cli->err_is_tty || cli->verbose)
        cli_note(cli, "%s", id);
    return follow_run(cli, conn, &how);
}

int cmd_run_run(struct cli *cli)
{
    struct task t = {.record_fd = -1};
    struct kinds_any *agent = NULL, *execution = NULL;
    struct conn conn;
    struct err err = {0};
    int exit_code = EXIT_OK;
    enum err_code code = read_task(cli, &t, &err);

    if (!code)
        code = conn_open(cli, &conn, &err);
    if (code) {
        task_done(&t);
        return cli_fail(cli, &err);
    }
    code = find_agent(cli, &conn, &agent, &err);
    if (!code)
        code = submit(cli, &conn, &t, agent, &execution, &err);
    if (!code)
        exit_code = show_run(cli, &conn, &t, kinds_id(execution));
    conn_close(&conn);
    kinds_free(agent);
    kinds_free(execution);
    task_done(&t);
    return code ? cli_fail(cli, &err) : exit_code;
}

/* ---- attach and logs --------------------------------------------------------------------- */

static int follow_known(struct cli *cli, struct follow_how *how)
{
    struct kinds_any *r = NULL;
    struct conn conn;
    struct err err = {0};
    enum err_code code = conn_open(cli, &conn, &err);
    int exit_code;

    if (code)
        return cli_fail(cli, &err);
    code = kinds_find(&conn, kinds_by_word("run"), cli_word(cli, 0), &r, &err);
    if (code) {
        conn_close(&conn);
        return cli_fail(cli, &err);
    }
    how->execution_id = kinds_id(r);
    exit_code = follow_run(cli, &conn, how);
    conn_close(&conn);
    kinds_free(r);
    return exit_code;
}

int cmd_run_attach(struct cli *cli)
{
    struct follow_how how = {.record_fd = -1, .to_the_end = true, .timeout_ms = cli->timeout_ms};
    struct err err = {0};
    int64_t from;

    if (args_int(&cli->args, "from", 1, INT64_MAX, 1, &from, &err))
        return cli_fail(cli, &err);
    how.from_seq = (uint64_t)from;
    return follow_known(cli, &how);
}

int cmd_run_logs(struct cli *cli)
{
    struct follow_how how = {.record_fd = -1,
                             .lines = true,
                             .to_the_end = args_bool(&cli->args, "follow", false),
                             .timeout_ms = cli->timeout_ms};

    return follow_known(cli, &how);
}
