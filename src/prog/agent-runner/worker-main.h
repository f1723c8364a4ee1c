/* worker-main.h — the part of agent-runner that talks to the server and the models. Started by the
 * launcher with its socket as fd 3 and the keys as fd 4 (launcher.h); confines itself before it
 * hears from anybody.
 *
 * Environment: what endpoints.h names, WORKSPACE_ROOT, STIGMER_SANDBOX_REPORT, STIGMER_SLOTS
 * (16), STIGMER_LOG_LEVEL. SIGTERM and SIGINT: runs are parked for another runner, then exit 0. */
#ifndef PROG_AGENT_RUNNER_WORKER_MAIN_H
#define PROG_AGENT_RUNNER_WORKER_MAIN_H

int worker_main(int argc, char **argv);

#endif
