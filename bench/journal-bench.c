/* journal-bench DIR ROUNDS — how long an event (turn_started and turn_finished in turns) takes
 * until it is acknowledged, beside one fdatasync(2) of the same bytes in the same folder; and how
 * many more a second 32 executions get in that append at once. Prints two rows of Markdown. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "platform/loop.h"
#include "platform/store.h"
#include "svc/journal.h"
#include "svc/schema.h"

enum { TEXT = 400, APPENDERS = 32 };

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *samples, size_t n)
{
    qsort(samples, n, sizeof *samples, by_size);
    return samples[n / 2];
}

struct bench {
    struct loop *loop;
    struct store *store;
    struct journal *journal;
    struct loop_timer *alive;
    size_t left, rounds;
    double *samples;
    struct appender *one; /* whose samples are kept */
    char text[TEXT + 1];
};

struct appender {
    struct bench *b;
    char id[16];
    uint64_t seq;
    double began;
};

static void append_next(struct appender *a);

static void on_appended(const struct err *err, uint64_t seq, void *arg)
{
    struct appender *a = arg;
    struct bench *b = a->b;

    if (err) {
        fprintf(stderr, "journal-bench: %s\n", err->msg);
        exit(1);
    }
    a->seq = seq;
    if (b->one)
        b->samples[b->rounds - b->left] = now_us() - a->began;
    if (b->left && --b->left)
        append_next(a);
    else
        loop_quit(b->loop);
}

static void append_next(struct appender *a)
{
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__TurnStarted started = EXEC__TURN_STARTED__INIT;
    Exec__TurnFinished finished = EXEC__TURN_FINISHED__INIT;

    started.model = finished.text = a->b->text;
    started.turn = (uint32_t)(a->seq / 2);
    started.attempt = 1;
    e.kind_case = a->seq % 2 ? EXEC__EVENT__KIND_TURN_FINISHED : EXEC__EVENT__KIND_TURN_STARTED;
    if (a->seq % 2)
        e.turn_finished = &finished;
    else
        e.turn_started = &started;
    e.seq = a->seq + 1;
    e.at_ms = 1;
    a->began = now_us();
    journal_append(a->b->journal, a->id, 1, (Exec__Event *[]){&e}, 1, on_appended, a);
}

static enum err_code make_job(sqlite3 *db, void *arg, struct err *err)
{
    struct appender *a = arg;
    const struct journal_create c = {
        .id = a->id, .session_id = a->id, .message = "m", .model = "", .at_ms = 1};
    Exec__Event *claimed;
    enum err_code code = journal_tx_create(db, &c, err);

    if (!code)
        code = journal_tx_claim(db, a->id, "r", 1, &claimed, err);
    if (!code)
        exec__event__free_unpacked(claimed, NULL);
    a->seq = 2;
    return code;
}

static void on_made(const struct err *err, void *arg)
{
    (void)arg;
    if (err) {
        fprintf(stderr, "journal-bench: %s\n", err->msg);
        exit(1);
    }
}

/* The same bytes at a file's end, made durable one after the other. */
static double raw_median(const char *dir, size_t rounds, double *samples)
{
    char path[512], text[TEXT] = {0};
    int fd;

    (void)str_format(path, sizeof path, "%s/raw", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (size_t i = 0; i < rounds; i++) {
        double t = now_us();

        if (write(fd, text, sizeof text) != (ssize_t)sizeof text || fdatasync(fd)) {
            perror("journal-bench: write");
            exit(1);
        }
        samples[i] = now_us() - t;
    }
    close(fd);
    unlink(path);
    return median(samples, rounds);
}

static double rate(struct bench *b, struct appender *all, size_t count, size_t total)
{
    double t;

    b->rounds = b->left = total;
    t = now_us();
    for (size_t i = 0; i < count; i++)
        append_next(&all[i]);
    loop_run(b->loop);
    return (double)total / (now_us() - t) * 1e6;
}

static void quit(void *arg)
{
    loop_quit(arg);
}

int main(int argc, char **argv)
{
    size_t rounds = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    struct bench b = {.loop = loop_new()};
    struct appender all[APPENDERS];
    double raw, ours, one, many;
    struct err err;

    if (!rounds) {
        fputs("usage: journal-bench DIR ROUNDS\n", stderr);
        return 2;
    }
    memset(b.text, 'x', TEXT);
    b.samples = mem_array(rounds, sizeof *b.samples);
    b.alive = loop_timer_new(b.loop, quit, b.loop);
    if (store_open(b.loop, argv[1], schema(), &b.store, &err)) {
        fprintf(stderr, "journal-bench: %s\n", err.msg);
        return 1;
    }
    b.journal = journal_new(b.loop, b.store);
    for (size_t i = 0; i < APPENDERS; i++) {
        all[i] = (struct appender){.b = &b};
        (void)str_format(all[i].id, sizeof all[i].id, "aex-%zu", i);
        store_submit(b.store, make_job, on_made, &all[i]);
    }
    loop_timer_in(b.alive, 300);
    loop_run(b.loop);
    loop_timer_in(b.alive, 600000);
    raw = raw_median(argv[1], rounds, b.samples);
    b.one = &all[0];
    one = rate(&b, all, 1, rounds);
    ours = median(b.samples, rounds);
    b.one = NULL;
    many = rate(&b, all, APPENDERS, rounds * 20);
    printf("| journal append, acknowledged on disk | %.0f us | one fdatasync of the same bytes: "
           "%.0f us | %.2f | ≤ 3 |\n",
           ours, raw, ours / raw);
    printf("| 32 executions append at once | %.0f/s | one: %.0f/s | %.1f | ≥ 10 |\n", many, one,
           many / one);
    store_free(b.store);
    journal_free(b.journal);
    loop_timer_free(b.alive);
    loop_free(b.loop);
    free(b.samples);
    return 0;
}
