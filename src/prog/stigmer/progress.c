#include "prog/stigmer/progress.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"
#include "prog/stigmer/out.h"

#define BAR_WIDTH 24
#define TELL_MS 1000 /* between two lines where there is no terminal */

void progress_init(struct progress *p, const struct cli *cli)
{
    *p = (struct progress){.cli = cli, .began_ms = clock_mono_ms()};
}

/* "[=====     ]  41 %  1.9 GB of 4.7 GB  12.3 MB/s" */
static void show_bar(struct progress *p, int64_t now)
{
    double seconds = (double)(now - p->began_ms) / 1000.0;
    double rate = seconds > 0.1 ? (double)p->completed / seconds : 0;
    int part = (int)(p->completed * BAR_WIDTH / p->total);
    char bar[BAR_WIDTH + 1], done[32], all[32], fast[32];

    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < part ? '=' : ' ';
    bar[BAR_WIDTH] = '\0';
    out_size(p->completed, done);
    out_size(p->total, all);
    out_size((int64_t)rate, fast);
    fprintf(stderr, "\r\033[K[%s] %3lld %%  %s of %s  %s/s  %.40s", bar,
            (long long)(p->completed * 100 / p->total), done, all, fast, p->status);
    (void)fflush(stderr);
    p->on_bar = true;
}

void progress_end(struct progress *p)
{
    if (p->on_bar)
        (void)fputc('\n', stderr);
    p->on_bar = false;
}

void progress_tell(struct progress *p, const char *status, int64_t completed, int64_t total)
{
    int64_t now = clock_mono_ms();
    bool another = !str_eq(status, p->status);
    char all[32];

    p->completed = completed;
    if (another || p->total != total) {
        p->total = total;
        p->began_ms = now;
    }
    (void)str_format(p->status, sizeof p->status, "%.100s", status);
    if (p->cli->quiet)
        return;
    if (p->cli->err_is_tty && total > 0) {
        show_bar(p, now);
    } else if (another || now - p->told_ms >= TELL_MS) {
        progress_end(p);
        p->told_ms = now;
        out_size(total, all);
        if (total > 0)
            cli_note(p->cli, "%s: %lld %% of %s", p->status, (long long)(completed * 100 / total),
                     all);
        else
            cli_note(p->cli, "%s", p->status);
    }
}
