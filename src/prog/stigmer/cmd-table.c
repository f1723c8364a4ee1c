#include "prog/stigmer/cmd-table.h"

#include <string.h>

#include "base/str.h"
#include "prog/stigmer/cmds.h"

#define NAMES_MAX 64

static const char *const data_formats[] = {"text", "json", "yaml", "jsonl", "name", NULL};
static const char *const doc_formats[] = {"text", "json", "yaml", NULL};
static const char *const status_formats[] = {"text", "json", "yaml", "jsonl", NULL};
static const char *const json_formats[] = {"text", "json", NULL};
static const char *const run_formats[] = {"text", "json", "jsonl", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const components[] = {"stigmer-server", "agent-runner", "temporal", NULL};

#define END                                                                                        \
    {                                                                                              \
        NULL, 0, NULL, NULL, NULL, NULL, false                                                     \
    }

/* clang-format off */
const struct arg_spec cmd_table_global[] = {
    {"quiet", 'q', NULL, "no notices, only results and errors", NULL, NULL, false},
    {"verbose", 'v', NULL, "say more on standard error", NULL, NULL, true},
    {"no-color", 0, NULL, "no colours", "NO_COLOR", NULL, false},
    {"no-input", 0, NULL, "never ask; a question becomes an error", NULL, NULL, false},
    {"timeout", 0, "DUR", "give up after this time", NULL, NULL, false},
    {"home", 0, "DIR", "where everything lives (default ~/.stigmer)", "STIGMER_HOME", NULL, false},
    {"server", 0, "ADDR", "unix:PATH, host:port or tls://host:port of the server", "STIGMER_SERVER_ADDR", NULL, false},
    {"token-file", 0, "FILE", "file with the token that a server beyond this machine wants; the variable holds the token itself", "STIGMER_TOKEN", NULL, false},
    {"tls-ca", 0, "FILE", "authority that the server's certificate is from, when the system does not know it", "STIGMER_TLS_CA", NULL, false},
    {"help", 'h', NULL, "show help", NULL, NULL, false},
    {"version", 0, NULL, "show the version", NULL, NULL, false},
    END};

static const struct arg_spec start_flags[] = {
    {"runner", 0, "auto|docker|podman|process|none", "where agents run", "STIGMER_RUNNER", NULL, false},
    {"engine", 0, "embedded|temporal", "what schedules executions", "STIGMER_ENGINE", NULL, false},
    {"temporal-address", 0, "HOST:PORT", "a Temporal server that is there; without it one is started here", "TEMPORAL_SERVICE_ADDRESS", NULL, false},
    {"temporal-namespace", 0, "NAME", "Temporal's namespace (default: default)", "TEMPORAL_NAMESPACE", NULL, false},
    {"listen", 0, "HOST:PORT", "address of the API besides its unix socket", "STIGMER_LISTEN", NULL, false},
    {"set", 0, "KEY=VALUE", "any key of the configuration", NULL, NULL, true},
    {"foreground", 0, NULL, "stay attached to this terminal", NULL, NULL, false},
    {"no-wait", 0, NULL, "return as soon as the server process lives", NULL, NULL, false},
    {"wait-timeout", 0, "DUR", "how long to wait (default 30s)", NULL, NULL, false},
    END};
static const struct arg_spec status_flags[] = {
    {"watch", 0, NULL, "go on with every change, until Ctrl-C", NULL, NULL, false},
    END};
static const struct arg_spec stop_flags[] = {
    {"grace", 0, "DUR", "time for runs to reach a step that can be resumed (default 10s)", NULL, NULL, false},
    {"force", 0, NULL, "end the server at once", NULL, NULL, false},
    END};
static const struct arg_spec install_flags[] = {
    {"user", 0, NULL, "for this person (the default)", NULL, NULL, false},
    {"system", 0, NULL, "for the machine", NULL, NULL, false},
    {"print", 0, NULL, "print the units, write nothing", NULL, NULL, false},
    END};
static const struct arg_spec uninstall_flags[] = {
    {"user", 0, NULL, "of this person (the default)", NULL, NULL, false},
    {"system", 0, NULL, "of the machine", NULL, NULL, false},
    END};
static const struct arg_spec restart_flags[] = {
    {"runner", 0, "auto|docker|podman|process|none", "where agents run", "STIGMER_RUNNER", NULL, false},
    {"engine", 0, "embedded|temporal", "what schedules executions", "STIGMER_ENGINE", NULL, false},
    {"temporal-address", 0, "HOST:PORT", "a Temporal server that is there; without it one is started here", "TEMPORAL_SERVICE_ADDRESS", NULL, false},
    {"temporal-namespace", 0, "NAME", "Temporal's namespace (default: default)", "TEMPORAL_NAMESPACE", NULL, false},
    {"listen", 0, "HOST:PORT", "address of the API besides its unix socket", "STIGMER_LISTEN", NULL, false},
    {"set", 0, "KEY=VALUE", "any key of the configuration", NULL, NULL, true},
    {"no-wait", 0, NULL, "return as soon as the server process lives", NULL, NULL, false},
    {"wait-timeout", 0, "DUR", "how long to wait (default 30s)", NULL, NULL, false},
    {"grace", 0, "DUR", "time for runs to reach a step that can be resumed (default 10s)", NULL, NULL, false},
    {"force", 0, NULL, "end the server at once", NULL, NULL, false},
    END};
static const struct arg_spec token_flags[] = {
    {"rotate", 0, NULL, "make another one; runners that show the old one are sent away", NULL, NULL, false},
    END};
static const struct arg_spec logs_flags[] = {
    {"component", 'c', "NAME", "only this component", NULL, components, true},
    {"follow", 'f', NULL, "go on with new lines", NULL, NULL, false},
    {"tail", 0, "N|all", "lines from the end of each component (default 50)", NULL, NULL, false},
    {"since", 0, "TIME", "from this time on: RFC 3339, or a duration before now", NULL, NULL, false},
    {"until", 0, "TIME", "up to this time", NULL, NULL, false},
    {"timestamps", 't', NULL, "keep the time of each line", NULL, NULL, false},
    {"level", 0, "LEVEL", "this level and worse", NULL, levels, false},
    {"grep", 0, "RE", "only lines that match the extended regular expression", NULL, NULL, false},
    {"run", 0, "ID", "only lines of this execution", NULL, NULL, false},
    {"no-prefix", 0, NULL, "no component name in front", NULL, NULL, false},
    END};
static const struct arg_spec apply_flags[] = {
    {"file", 'f', "FILE|DIR|-", "what to apply", NULL, NULL, true},
    {"dry-run", 0, NULL, "say what would happen, change nothing", NULL, NULL, false},
    END};
static const struct arg_spec get_flags[] = {
    {"all", 0, NULL, "no limit on how many are listed", NULL, NULL, false},
    END};
static const struct arg_spec delete_flags[] = {
    {"all", 0, NULL, "every one of the kind", NULL, NULL, false},
    {"yes", 'y', NULL, "do not ask", NULL, NULL, false},
    END};
static const struct arg_spec run_flags[] = {
    {"message", 'm', "TEXT|-|@FILE", "the task; - reads standard input", NULL, NULL, false},
    {"session", 0, "ID", "go on in this session", NULL, NULL, false},
    {"model", 0, "NAME", "model of this run", NULL, NULL, false},
    {"workspace", 'w', "DIR", "this folder is the workspace of the run's session", NULL, NULL, false},
    {"runtime-env", 0, "K=V", "environment of the tools; secret:K=NAME takes the value of the variable NAME", NULL, NULL, true},
    {"detach", 0, NULL, "print the execution id and return", NULL, NULL, false},
    {"follow", 0, NULL, "follow to the end (default true)", NULL, NULL, false},
    {"record", 0, "FILE", "write the exchanges with the model to FILE", NULL, NULL, false},
    {"replay", 0, "FILE", "answer from a recording instead of a model", NULL, NULL, false},
    END};
static const struct arg_spec ps_flags[] = {
    {"all", 'a', NULL, "ended ones too", NULL, NULL, false},
    {"session", 0, "ID", "of this session", NULL, NULL, false},
    {"phase", 0, "PHASE", "pending, running, completed, failed or cancelled", NULL, NULL, false},
    END};
static const struct arg_spec attach_flags[] = {
    {"from", 0, "SEQ", "begin with this event (default 1)", NULL, NULL, false},
    END};
static const struct arg_spec run_logs_flags[] = {
    {"follow", 'f', NULL, "go on to the end of the run", NULL, NULL, false},
    END};
static const struct arg_spec session_rm_flags[] = {
    {"force", 0, NULL, "cancel runs that are under way, then remove", NULL, NULL, false},
    {"yes", 'y', NULL, "do not ask", NULL, NULL, false},
    END};
static const struct arg_spec image_flags[] = {
    {"runner", 0, "docker|podman", "at this engine (default: the one a start would take)", "STIGMER_RUNNER", NULL, false},
    END};
static const struct arg_spec image_build_flags[] = {
    {"from", 0, "IMAGE", "a local image to build on", NULL, NULL, false},
    {"tag", 0, "NAME", "name of the result (default stigmer-agent-runner:IMAGE)", NULL, NULL, false},
    {"runner", 0, "docker|podman", "at this engine (default: the one a start would take)", "STIGMER_RUNNER", NULL, false},
    END};
static const struct arg_spec prune_flags[] = {
    {"older-than", 0, "DUR", "also workspaces and store backups that were not used for this long", NULL, NULL, false},
    {"dry-run", 0, NULL, "only say what would go", NULL, NULL, false},
    {"yes", 'y', NULL, "do not ask", NULL, NULL, false},
    END};
static const struct arg_spec doctor_flags[] = {
    {"online", 0, NULL, "also make one cheap call of the model", NULL, NULL, false},
    END};
static const struct arg_spec secret_set_flags[] = {
    {"from-env", 0, "VARIABLE", "take the value of this variable", NULL, NULL, false},
    {"from-file", 0, "FILE", "take the content of this file", NULL, NULL, false},
    END};
static const struct arg_spec send_flags[] = {
    {"message", 'm', "TEXT|-|@FILE", "what is said; - reads standard input", NULL, NULL, false},
    {"id", 0, "ID", "your own id of it: the same one again is said once", NULL, NULL, false},
    END};
static const struct arg_spec deny_flags[] = {
    {"message", 'm', "TEXT|-|@FILE", "why not; the model reads it", NULL, NULL, false},
    END};
static const struct arg_spec cancel_flags[] = {
    {"reason", 0, "TEXT", "why, for the journal", NULL, NULL, false},
    END};

const struct cmd cmd_table[] = {
    {"server start", "", 0, 0, "Bring the stack up and return when it is ready",
     "Starts the server, which starts the agent-runner and, with --engine temporal, a Temporal of its\n"
     "own unless an address is given. When it runs already this says so and changes nothing. Provider keys are taken from ANTHROPIC_API_KEY and OPENAI_API_KEY.",
     start_flags, json_formats,
     {{"stigmer server start", "with a container when an engine answers"},
      {"stigmer server start --runner process --listen 127.0.0.1:0", "no container, any free port"}},
     cmd_server_start_run, false},
    {"server stop", "", 0, 0, "Stop the stack and remove what it left",
     NULL, stop_flags, NULL,
     {{"stigmer server stop", "let runs reach a step that can be resumed"},
      {"stigmer server stop --force", "end it at once"}},
     cmd_server_stop_run, false},
    {"server restart", "", 0, 0, "Stop and start, with the same or new options",
     NULL, restart_flags, json_formats,
     {{"stigmer server restart", "with the configuration as it is now"},
      {"stigmer server restart --runner docker", "move the runner into a container"}},
     cmd_server_start_restart, false},
    {"server status", "", 0, 0, "Show each component, the sandbox and the log paths",
     "Exit 0 ready, 1 running but degraded, 3 not running. --watch ends with 130; it waits for a server that\n"
     "is away. On a terminal it redraws, elsewhere it appends.",
     status_flags, status_formats,
     {{"stigmer server status", "for people"},
      {"stigmer server status --watch -o jsonl", "a line for each change, for scripts"}},
     cmd_server_status_run, false},
    {"server logs", "", 0, 0, "Show the logs of all components, merged by time",
     "Works when the server is down. Control characters are shown as \\xNN, also in a pipe; -o json "
     "and the files have what was written.",
     logs_flags, json_formats,
     {{"stigmer server logs -f", "follow everything"},
      {"stigmer server logs -c agent-runner --since 10m --level warn", "what went wrong lately"}},
     cmd_server_logs_run, false},
    {"server runner-token", "", 0, 0, "Print the token for runners on other machines",
     "It is made once and kept with the secrets of the home. A runner shows what the file named by\n"
     "STIGMER_RUNNER_TOKEN_FILE holds; see docs/scale-out.md.",
     token_flags, NULL,
     {{"stigmer server runner-token > runner.token", "for a file that only its owner reads"},
      {"stigmer server runner-token --rotate", "when the old one may be known to others"}},
     cmd_server_token_run, false},
    {"server install", "", 0, 0, "Write units for systemd: the server as a service",
     "stigmer.service (Type=notify, watchdog, hardened) and stigmer.socket. Nothing is started.",
     install_flags, NULL,
     {{"stigmer server install --user", "of this person"},
      {"stigmer server install --system --print", "only show them"}},
     cmd_server_install_run, false},
    {"server uninstall", "", 0, 0, "Remove the units that server install wrote",
     NULL, uninstall_flags, NULL,
     {{"stigmer server uninstall --user", "of this person"},
      {"stigmer server uninstall --system", "of the machine"}},
     cmd_server_install_remove, false},
    {"new", "[DIR]", 0, 1, "Write a small agent project",
     "agent.yaml, README.md and .gitignore, in this folder or a new one; the agent has the folder's name.",
     NULL, doc_formats,
     {{"stigmer new reviewer", "in a folder of that name"},
      {"stigmer new", "in this folder, when it is empty"}},
     cmd_new_run, false},
    {"apply", "", 0, 0, "Create or update resources from files",
     "YAML or JSON, several documents a file. A folder is read recursively. All faults are told\n"
     "before anything is sent. Nothing is ever deleted.",
     apply_flags, data_formats,
     {{"stigmer apply -f agent.yaml", "one file"},
      {"stigmer apply -f agents/ --dry-run", "what a folder would change"}},
     cmd_apply_run, false},
    {"get", "KIND [NAME|ID...]", 1, 1000, "List resources, or show some of them",
     "Kinds: agents, instances, sessions, executions (or runs).",
     get_flags, data_formats,
     {{"stigmer get agents", "all agents"},
      {"stigmer get agent reviewer -o yaml", "one of them, whole"}},
     cmd_get_run, false},
    {"describe", "KIND NAME|ID...", 2, 1000, "Show resources whole",
     NULL, NULL, doc_formats,
     {{"stigmer describe agent reviewer", "an agent"},
      {"stigmer describe session ses-01h...", "a session"}},
     cmd_get_describe, false},
    {"delete", "KIND [NAME|ID...]", 1, 1000, "Delete resources",
     NULL, delete_flags, NULL,
     {{"stigmer delete agent reviewer", "one agent"},
      {"stigmer delete runs --all --yes", "every execution"}},
     cmd_get_delete, false},
    {"run", "[AGENT]", 0, 1, "Give an agent a task and follow it to its answer",
     "The answer goes to standard output and nothing else does; tool calls are short lines on\n"
     "standard error. Ctrl-C cancels the run, a second one leaves. Without AGENT the only agent\n"
     "is taken. Calls that wait for approval are asked for on a terminal. Exit 0 completed, 1 failed,\n"
     "6 a call waits for approval and nobody can be asked here (the run goes on waiting), 8 timed out,\n"
     "130 cancelled by Ctrl-C.",
     run_flags, run_formats,
     {{"stigmer run reviewer -m \"Look at src/main.c\"", "follow it"},
      {"stigmer run reviewer -m @task.md --detach", "only start it; prints the id"}},
     cmd_run_run, false},
    {"ps", "", 0, 0, "List executions: running ones, or all",
     "With --quiet only the ids.", ps_flags, data_formats,
     {{"stigmer ps", "what runs now"},
      {"stigmer ps -a -o json", "everything, for scripts"}},
     cmd_ps_run, false},
    {"inspect", "RUN...", 1, 1000, "Show an execution whole",
     NULL, NULL, doc_formats,
     {{"stigmer inspect aex-01h...", "messages, tool calls, result"},
      {"stigmer inspect aex-01h... -o json", "for scripts"}},
     cmd_inspect_run, false},
    {"attach", "RUN", 1, 1, "Replay a run from its start and follow it to its end",
     "Ctrl-C leaves; the run goes on.",
     attach_flags, run_formats,
     {{"stigmer attach aex-01h...", "from the start"},
      {"stigmer attach aex-01h... --from 20 -o jsonl", "events from number 20 on"}},
     cmd_run_attach, false},
    {"logs", "RUN", 1, 1, "Show the journal of an execution as lines",
     NULL, run_logs_flags, run_formats,
     {{"stigmer logs aex-01h...", "what happened so far"},
      {"stigmer logs aex-01h... -f", "and what happens next"}},
     cmd_run_logs, false},
    {"send", "RUN", 1, 1, "Say something to a run that is under way",
     "The model reads it with its next turn, after the results of the tools that run now; a run does not\n"
     "complete over it. Fails when the run has ended. With Temporal the signal `input` does the same.",
     send_flags, NULL,
     {{"stigmer send aex-01h... -m \"Leave the tests as they are\"", "a word on the way"},
      {"stigmer send aex-01h... -m @notes.md", "a file"}},
     cmd_send_run, false},
    {"approvals ls", "[RUN]", 0, 1, "List the tool calls that wait for a person's approval",
     "Which ones wait is for the agent (spec.requireApproval) and for tools.require_approval to say. With\n"
     "--quiet only the ids.",
     NULL, data_formats,
     {{"stigmer approvals ls", "of all runs"},
      {"stigmer approvals ls aex-01h... -o json", "of one, with the first 4 KiB of the arguments"}},
     cmd_approvals_ls, false},
    {"approve", "APPROVAL...", 1, 1000, "Let tool calls run that wait for approval",
     "An approval is a run's id, a dot and a number, as approvals ls shows it; a run's id alone is the one\n"
     "call of it that waits. With Temporal the signal `approve` does the same.",
     NULL, json_formats,
     {{"stigmer approve aex-01h....12", "one call"},
      {"stigmer approve $(stigmer approvals ls -q)", "all that wait"}},
     cmd_approvals_approve, false},
    {"deny", "APPROVAL...", 1, 1000, "Refuse tool calls that wait for approval",
     "The call does not run; the model reads that, with the reason, and goes on. With Temporal the signal\n"
     "`deny` does the same.",
     deny_flags, json_formats,
     {{"stigmer deny aex-01h....12 -m \"Not on main\"", "one call"},
      {"stigmer deny aex-01h...", "the one call of this run that waits"}},
     cmd_approvals_deny, false},
    {"cancel", "RUN...", 1, 1000, "Cancel executions",
     NULL, cancel_flags, NULL,
     {{"stigmer cancel aex-01h...", "one"},
      {"stigmer cancel $(stigmer ps -q)", "all that run"}},
     cmd_inspect_cancel, false},
    {"session ls", "", 0, 0, "List sessions with how many runs they have",
     "With --quiet only the ids.", NULL, data_formats,
     {{"stigmer session ls", "a table"},
      {"stigmer session ls -o json", "for scripts"}},
     cmd_session_ls, false},
    {"session show", "SESSION...", 1, 1000, "Show a session and its runs",
     NULL, NULL, doc_formats,
     {{"stigmer session show ses-01h...", "for people"},
      {"stigmer session show ses-01h... -o json", "for scripts"}},
     cmd_session_show, false},
    {"session rm", "SESSION...", 1, 1000, "Remove sessions with their runs and workspaces",
     "A person's own folder stays. A session with a run under way is refused; --force cancels that first.",
     session_rm_flags, json_formats,
     {{"stigmer session rm ses-01h...", "asks first"},
      {"stigmer session rm --force --yes ses-01h...", "whatever runs in it"}},
     cmd_session_rm, false},
    {"model ls", "", 0, 0, "List the models that the configured provider has",
     "The configured one is marked. 'server llm list' is the same.", NULL, data_formats,
     {{"stigmer model ls", "a table"},
      {"stigmer model ls -o name", "names alone"}},
     cmd_model_ls, false},
    {"model list", "", 0, 0, "List the models that the configured provider has", NULL, NULL, data_formats,
     {{"stigmer server llm list", "the old spelling"}, {"stigmer model ls", "the same"}},
     cmd_model_ls, true},
    {"model status", "", 0, 0, "Say whether the configured model can be asked",
     "Exit 1 when the provider is not reached or does not have the model.", NULL, doc_formats,
     {{"stigmer model status", "for people"},
      {"stigmer model status -o json", "for scripts"}},
     cmd_model_status, false},
    {"model pull", "MODEL", 1, 1, "Fetch a model into Ollama",
     NULL, NULL, json_formats,
     {{"stigmer model pull qwen2.5-coder:7b", "with a progress bar"},
      {"stigmer model pull llama3.2 --quiet", "silently"}},
     cmd_model_pull, false},
    {"model test", "[MODEL]", 0, 1, "Ask the model one short question",
     "Without MODEL the configured one. This is a real call: it may cost a fraction of a cent.", NULL, json_formats,
     {{"stigmer model test", "does it answer, and how fast?"},
      {"stigmer model test gpt-4.1-mini -o json", "another one of the provider"}},
     cmd_model_test, false},
    {"secret set", "NAME", 1, 1, "Keep a secret, encrypted; its value comes from stdin",
     "Names the server uses: llm.anthropic, llm.openai. On a terminal the value is asked for and not\n"
     "shown. It lies in data/secrets, sealed with the key in secret.key.",
     secret_set_flags, NULL,
     {{"stigmer secret set llm.anthropic < key.txt", "from a file"},
      {"stigmer secret set llm.openai --from-env OPENAI_API_KEY", "what a variable holds"}},
     cmd_secret_set, false},
    {"secret ls", "", 0, 0, "List secrets: names and sizes, never values",
     NULL, NULL, data_formats,
     {{"stigmer secret ls", "a table"},
      {"stigmer secret ls -o name", "names alone"}},
     cmd_secret_ls, false},
    {"secret rm", "NAME...", 1, 1000, "Remove secrets",
     NULL, NULL, NULL,
     {{"stigmer secret rm llm.openai", "one"},
      {"stigmer secret rm $(stigmer secret ls -o name)", "all"}},
     cmd_secret_rm, false},
    {"config get", "KEY", 1, 1, "Print the value that counts",
     NULL, NULL, json_formats,
     {{"stigmer config get llm.model", "one value"},
      {"stigmer config get llm.model -o json", "with its origin"}},
     cmd_config_get, false},
    {"config set", "KEY VALUE", 2, 2, "Change the file; comments stay",
     "A change of llm.provider removes the model and endpoint of the other provider.",
     NULL, NULL,
     {{"stigmer config set llm.provider anthropic", "another provider"},
      {"stigmer config set runner.memory 1GiB", "a size"}},
     cmd_config_set, false},
    {"config unset", "KEY", 1, 1, "Remove a key from the file",
     NULL, NULL, NULL,
     {{"stigmer config unset llm.model", "back to the default"},
      {"stigmer config unset runner.kind", "back to auto"}},
     cmd_config_unset, false},
    {"config list", "", 0, 0, "Show every key, its value and where that comes from",
     NULL, NULL, doc_formats,
     {{"stigmer config list", "a table"},
      {"stigmer config list -o json", "for scripts"}},
     cmd_config_list, false},
    {"config path", "", 0, 0, "Print the path of the file",
     NULL, NULL, NULL,
     {{"stigmer config path", "where it is"},
      {"$EDITOR \"$(stigmer config path)\"", "edit it"}},
     cmd_config_path, false},
    {"config validate", "[FILE]", 0, 1, "Check the file, or another one, and the environment",
     NULL, NULL, NULL,
     {{"stigmer config validate", "the file in use"},
      {"stigmer config validate new.yaml", "another one"}},
     cmd_config_validate, false},
    {"doctor", "", 0, 0, "Check engine, image, ports, disk, sandbox and model",
     "Each line: ok, warn or fail, why, and what to do. Exit 1 when anything fails.",
     doctor_flags, json_formats,
     {{"stigmer doctor --online", "everything, with one call of the model"},
      {"stigmer doctor -o json", "for scripts"}},
     cmd_doctor_run, false},
    {"image load", "", 0, 0, "Load the runner's image from the installed archive",
     "A start does so by itself when the image is missing or of another build.",
     image_flags, json_formats,
     {{"stigmer image load", "into the engine that a start would take"},
      {"stigmer image load --runner podman", "into Podman"}},
     cmd_image_load, false},
    {"image ls", "", 0, 0, "List the runner's images",
     "Those that have our label, at every engine that answers. '*': the one that runner.image names. INSTALLED:\n"
     "the image of the archive beside this program. (mounted): another image, into which a start mounts\n"
     "the installed runner.",
     image_flags, data_formats,
     {{"stigmer image ls", "a table"},
      {"stigmer image ls -o json", "for scripts"}},
     cmd_image_ls, false},
    {"image build", "", 0, 0, "Build a runner's image on top of another local image",
     "The installed static runner is put into IMAGE by the engine's own builder; tools then have IMAGE's\n"
     "programs. Nothing is fetched. Build again after an upgrade of Stigmer.",
     image_build_flags, json_formats,
     {{"stigmer image build --from debian:12", "makes stigmer-agent-runner:debian-12"},
      {"stigmer image build --from my-tools --tag my-runner:1", "with a name of your own"}},
     cmd_image_build, false},
    {"prune", "", 0, 0, "Remove what crashes and old sessions left",
     "Shows it and asks. Containers of this home that no server knows, sockets and id files of a server that\n"
     "is gone, writes that were not finished, links of sessions that are gone. With --older-than also\n"
     "workspaces whose session is gone or has no run, and store backups but the newest. A person's own\n"
     "folder is never touched, nor what a running server uses. Exit 1 when something could not go.",
     prune_flags, json_formats,
     {{"stigmer prune --dry-run", "what would go"},
      {"stigmer prune --older-than 720h --yes", "with workspaces of more than 30 days, unasked"}},
     cmd_prune_run, false},
    {"completion", "bash|zsh|fish", 1, 1, "Print a completion script",
     "Commands, options and their values, and names of agents, runs, sessions, keys and secrets.", NULL, NULL,
     {{"source <(stigmer completion bash)", "in this shell"},
      {"stigmer completion fish > ~/.config/fish/completions/stigmer.fish", "for good"}},
     cmd_complete_script, false},
    {"version", "", 0, 0, "Show the version",
     NULL, NULL, json_formats,
     {{"stigmer version", "one line"},
      {"stigmer version -o json", "with protocol versions"}},
     cmd_internal_version, false},
    {"internal complete", "[WORD...]", 0, 1000, "Candidates for the last of these words",
     NULL, NULL, NULL,
     {{"stigmer internal complete -- server st", "what completion scripts ask"},
      {"stigmer internal complete -- get ''", "the kinds"}},
     cmd_complete_words, true},
    {"internal runner-env", "", 0, 0, "Print where a runner that somebody else starts finds this server",
     NULL, NULL, NULL,
     {{"stigmer internal runner-env > .env", "for docker-compose"},
      {"stigmer internal runner-env", "to the terminal"}},
     cmd_internal_runner_env, true},
    {"internal man", "PAGE", 1, 1, "Print a manual page made from the command table",
     NULL, NULL, NULL,
     {{"stigmer internal man stigmer.1", "this program's"},
      {"stigmer internal man stigmer-server.8", "the daemon's"}},
     cmd_internal_man, true},
    {"internal config-doc", "", 0, 0, "Print docs/configuration.md",
     NULL, NULL, NULL,
     {{"stigmer internal config-doc", "to the terminal"},
      {"stigmer internal config-doc > docs/configuration.md", "to its place"}},
     cmd_internal_config_doc, true},
    {NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, {{NULL, NULL}}, NULL, false}};
/* clang-format on */

const struct cmd *cmd_table_find(const char *name)
{
    for (const struct cmd *c = cmd_table; c->name; c++)
        if (str_eq(c->name, name))
            return c;
    return NULL;
}

bool cmd_table_is_group(const char *word)
{
    size_t n = strlen(word);

    for (const struct cmd *c = cmd_table; c->name; c++)
        if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
            return true;
    return false;
}

const char *cmd_table_nearest(const char *group, const char *word)
{
    const char *names[NAMES_MAX + 1] = {0};
    static const char *const firsts[] = {"server", "config",  "image", "model",
                                         "secret", "session", NULL};
    size_t count = 0, n = strlen(group);

    for (const struct cmd *c = cmd_table; c->name && count < NAMES_MAX; c++) {
        if (c->hidden)
            continue;
        if (n && strncmp(c->name, group, n) == 0 && c->name[n] == ' ')
            names[count++] = c->name + n + 1;
        else if (!n && !strchr(c->name, ' '))
            names[count++] = c->name;
    }
    for (size_t i = 0; !n && firsts[i]; i++)
        names[count++] = firsts[i];
    return str_nearest(word, names);
}
