/* tool-host.h — the confined process that works for one session: becomes the owner of the
 * workspace, enters every sandbox layer, then serves tool calls from fd 3 (svc/tools-serve.h).
 * argv: tool-host FOLDER container|process */
#ifndef PROG_AGENT_RUNNER_TOOL_HOST_H
#define PROG_AGENT_RUNNER_TOOL_HOST_H

int tool_host_main(int argc, char **argv);

#endif
