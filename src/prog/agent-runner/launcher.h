/* launcher.h — the first process of agent-runner; PID 1 in the container, where it is root with
 * SETUID, SETGID and KILL only. Starts the worker and, when the worker asks, one tool host a
 * session; reaps and ends them. It opens no connection and reads no text of a model.
 *
 *   launcher ──fork, setuid 10001──▶ worker      fd 3: socket to the launcher, fd 4: keys (a memfd)
 *      └──fork────────────────────▶ tool-host   fd 3: socket to the worker
 *
 * Environment: WORKSPACE_ROOT, STIGMER_SANDBOX_REQUIRE, STIGMER_SANDBOX_EGRESS, and the keys'
 * places (key-files.h). The keys are one JSON object, file name → content, in a sealed memfd. Exits
 * with 10 when a required sandbox layer is missing, with the worker's code when that ends. */
#ifndef PROG_AGENT_RUNNER_LAUNCHER_H
#define PROG_AGENT_RUNNER_LAUNCHER_H

#define LAUNCHER_FD 3 /* the worker's end; a tool host's socket has the same number */
#define LAUNCHER_KEYS_FD 4
#define LAUNCHER_WORKER_UID 10001
#define LAUNCHER_SANDBOX_UID 10002 /* tool hosts when the workspace belongs to root */

int launcher_main(int argc, char **argv);

#endif
