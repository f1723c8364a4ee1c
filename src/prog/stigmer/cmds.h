/* cmds.h — the functions behind the rows of cmd-table.c, one file cmd-*.c for each group. */
#ifndef PROG_STIGMER_CMDS_H
#define PROG_STIGMER_CMDS_H

struct cli;

int cmd_apply_run(struct cli *cli);
int cmd_approvals_approve(struct cli *cli);
int cmd_approvals_deny(struct cli *cli);
int cmd_approvals_ls(struct cli *cli);
int cmd_complete_script(struct cli *cli);
int cmd_complete_words(struct cli *cli);
int cmd_config_get(struct cli *cli);
int cmd_config_list(struct cli *cli);
int cmd_config_path(struct cli *cli);
int cmd_config_set(struct cli *cli);
int cmd_config_unset(struct cli *cli);
int cmd_config_validate(struct cli *cli);
int cmd_doctor_run(struct cli *cli);
int cmd_get_run(struct cli *cli);
int cmd_get_describe(struct cli *cli);
int cmd_get_delete(struct cli *cli);
int cmd_image_build(struct cli *cli);
int cmd_image_load(struct cli *cli);
int cmd_image_ls(struct cli *cli);
int cmd_inspect_run(struct cli *cli);
int cmd_inspect_cancel(struct cli *cli);
int cmd_send_run(struct cli *cli);
int cmd_internal_man(struct cli *cli);
int cmd_internal_config_doc(struct cli *cli);
int cmd_internal_runner_env(struct cli *cli);
int cmd_internal_version(struct cli *cli);
int cmd_model_ls(struct cli *cli);
int cmd_model_pull(struct cli *cli);
int cmd_model_status(struct cli *cli);
int cmd_model_test(struct cli *cli);
int cmd_new_run(struct cli *cli);
int cmd_prune_run(struct cli *cli);
int cmd_ps_run(struct cli *cli);
int cmd_run_run(struct cli *cli);
int cmd_run_attach(struct cli *cli);
int cmd_run_logs(struct cli *cli);
int cmd_secret_set(struct cli *cli);
int cmd_secret_ls(struct cli *cli);
int cmd_secret_rm(struct cli *cli);
int cmd_session_ls(struct cli *cli);
int cmd_session_rm(struct cli *cli);
int cmd_session_show(struct cli *cli);
int cmd_server_install_run(struct cli *cli);
int cmd_server_install_remove(struct cli *cli);
int cmd_server_logs_run(struct cli *cli);
int cmd_server_start_run(struct cli *cli);
int cmd_server_start_restart(struct cli *cli);
int cmd_server_status_run(struct cli *cli);
int cmd_server_token_run(struct cli *cli);
int cmd_server_stop_run(struct cli *cli);

#endif
