/* The HTTP client against a scripted server in a thread: one connection, one request, one answer.
 */
#include "platform/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/mem.h"

struct peer {
    pthread_t thread;
    int listener;
    char url[64], path[108];
    const char *answer; /* then the connection closes, or */
    bool stall;         /* stays silent until the client goes away */
    size_t body_len;    /* of the request, to read before answering */
    struct buf request;
};

static void *serve(void *arg)
{
    struct peer *p = arg;
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    char chunk[65536];
    ssize_t n = 1;

    while (n > 0) {
        const char *end = strstr(buf_text(&p->request), "\r\n\r\n");
        size_t head = end ? (size_t)(end - buf_text(&p->request)) + 4 : 0;

        if (end && p->request.len >= head + p->body_len)
            break;
        n = recv(fd, chunk, sizeof chunk, 0);
        if (n > 0)
            buf_put(&p->request, chunk, (size_t)n);
    }
    if (p->answer)
        (void)send(fd, p->answer, strlen(p->answer), MSG_NOSIGNAL);
    if (p->stall)
        (void)recv(fd, chunk, 1, 0);
    close(fd);
    return NULL;
}

static void peer_start(struct peer *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    buf_init(&p->request, 0);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_return_code(getsockname(p->listener, (struct sockaddr *)&a, &len), 0);
    assert_return_code(listen(p->listener, 4), 0);
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d/x?secret=1", ntohs(a.sin_port));
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void peer_stop(struct peer *p)
{
    pthread_join(p->thread, NULL);
    close(p->listener);
    buf_done(&p->request);
}

struct seen {
    struct loop *loop;
    struct http *http;
    int status, done;
    enum http_failure failure;
    char body[256], type[64], msg[1024];
    int64_t sent;
    bool cancel, free_all;
};

static void on_done(struct http_req *r, enum http_failure f, const struct err *err, void *arg)
{
    struct seen *s = arg;
    const char *type = http_req_header(r, "CONTENT-type");

    s->done++;
    s->failure = f;
    s->status = http_req_status(r);
    snprintf(s->body, sizeof s->body, "%s", http_req_body(r, NULL));
    snprintf(s->type, sizeof s->type, "%s", type ? type : "");
    snprintf(s->msg, sizeof s->msg, "%s", f ? err->msg : "");
    loop_quit(s->loop);
}

static void on_data(struct http_req *r, const void *data, size_t len, void *arg)
{
    struct seen *s = arg;

    (void)data;
    (void)len;
    if (s->cancel)
        http_cancel(r);
    if (s->free_all) {
        http_free(s->http);
        s->http = NULL;
    }
    loop_quit(s->loop);
}

static void on_progress(int64_t sent, int64_t total, void *arg)
{
    (void)total;
    ((struct seen *)arg)->sent = sent;
}

static void run(struct seen *s, struct http_spec spec)
{
    s->loop = loop_new();
    s->http = http_new(s->loop);
    spec.method = spec.method ? spec.method : "GET";
    spec.on_done = on_done;
    spec.arg = s;
    http_start(s->http, &spec);
    assert_int_equal(s->done, 0);
    loop_run(s->loop);
    http_free(s->http);
    loop_free(s->loop);
}

static struct seen get(const char *answer, struct http_spec spec, bool stall)
{
    struct peer p = {.answer = answer, .stall = stall};
    struct seen s = {0};

    peer_start(&p);
    spec.url = p.url;
    run(&s, spec);
    peer_stop(&p);
    assert_int_equal(s.done, 1);
    assert_null(strstr(s.msg, "secret"));
    return s;
}

static void an_answer_of_any_status_is_an_answer(void **state)
{
    struct seen s = get("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Type: a\r\n"
                        "content-type:  b\r\nContent-Length: 5\r\n\r\nhello",
                        (struct http_spec){0}, false);

    (void)state;
    assert_int_equal(s.failure, HTTP_FAIL_NONE);
    assert_int_equal(s.status, 404);
    assert_string_equal(s.body, "hello");
    assert_string_equal(s.type, "b");
}

static void a_redirect_is_not_followed(void **state)
{
    struct seen s = get("HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\n"
                        "Content-Length: 0\r\n\r\n",
                        (struct http_spec){0}, false);

    (void)state;
    assert_int_equal(s.failure, HTTP_FAIL_NONE);
    assert_int_equal(s.status, 302);
}

static void a_refused_connection_is_told(void **state)
{
    struct seen s = {0};
    struct peer p = {0};

    (void)state;
    peer_start(&p);
    shutdown(p.listener, SHUT_RDWR); /* the port stays ours and refuses */
    pthread_join(p.thread, NULL);
    run(&s, (struct http_spec){.url = p.url});
    close(p.listener);
    buf_done(&p.request);
    assert_int_equal(s.failure, HTTP_FAIL_CONNECT);
    assert_non_null(strstr(s.msg, "http://127.0.0.1:"));
}

static void silence_before_and_after_the_first_byte_differ(void **state)
{
    const struct http_spec spec = {.first_byte_ms = 50, .stall_ms = 50};

    (void)state;
    assert_int_equal(get(NULL, spec, true).failure, HTTP_FAIL_FIRST_BYTE);
    assert_int_equal(get("HTTP/1.1 200 OK\r\n\r\nab", spec, true).failure, HTTP_FAIL_STALLED);
}

static void a_cut_answer_is_broken(void **state)
{
    const struct http_spec none = {0};

    (void)state;
    assert_int_equal(
        get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", none, false).failure,
        HTTP_FAIL_BROKEN);
    assert_int_equal(get("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", none, false).failure,
                     HTTP_FAIL_BROKEN);
    assert_int_equal(get(NULL, none, false).failure, HTTP_FAIL_BROKEN);
    assert_int_equal(get("what is this\r\n\r\n", none, false).failure, HTTP_FAIL_BROKEN);
}

static void an_answer_over_its_limit_is_refused(void **state)
{
    struct buf head;

    (void)state;
    assert_int_equal(get("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789",
                         (struct http_spec){.body_max = 8}, false)
                         .failure,
                     HTTP_FAIL_LIMIT);
    buf_init(&head, 0);
    buf_puts(&head, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&head, "X-%d: %080d\r\n", i, 0);
    buf_puts(&head, "\r\n");
    assert_int_equal(get(buf_text(&head), (struct http_spec){0}, false).failure, HTTP_FAIL_LIMIT);
    buf_done(&head);
}

static void a_post_carries_its_body_and_no_expect(void **state)
{
    struct peer p = {.answer = "HTTP/1.1 204 OK\r\n\r\n", .body_len = 4};
    struct seen s = {0};

    (void)state;
    peer_start(&p);
    run(&s, (struct http_spec){.method = "POST",
                               .url = p.url,
                               .headers = (const char *const[]){"X-A: b", NULL},
                               .body = "\0abc",
                               .body_len = 4});
    pthread_join(p.thread, NULL);
    assert_int_equal(s.status, 204);
    assert_non_null(strstr(buf_text(&p.request), "X-A: b\r\n"));
    assert_non_null(strstr(buf_text(&p.request), "Content-Length: 4\r\n"));
    assert_null(strstr(buf_text(&p.request), "Expect"));
    assert_null(strstr(buf_text(&p.request), "Content-Type"));
    assert_memory_equal(p.request.data + p.request.len - 4, "\0abc", 4);
    close(p.listener);
    buf_done(&p.request);
}

static void a_file_is_uploaded_with_progress(void **state)
{
    const size_t len = 3 << 20;
    struct peer p = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", .body_len = len};
    struct seen s = {0};
    int fd = memfd_create("upload", MFD_CLOEXEC);

    (void)state;
    assert_return_code(ftruncate(fd, (off_t)len), 0);
    peer_start(&p);
    run(&s, (struct http_spec){.method = "POST",
                               .url = p.url,
                               .upload_fd = fd,
                               .upload_len = (int64_t)len,
                               .first_byte_ms = 5000,
                               .on_progress = on_progress});
    peer_stop(&p);
    close(fd);
    assert_int_equal(s.failure, HTTP_FAIL_NONE);
    assert_string_equal(s.body, "ok");
    assert_int_equal(s.sent, len);
}

static void a_unix_socket_works_and_names_itself_in_errors(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct peer p = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"};
    struct seen s = {0};

    (void)state;
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/http-test-%d.sock", (int)getpid());
    unlink(a.sun_path);
    buf_init(&p.request, 0);
    p.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(p.listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_return_code(listen(p.listener, 1), 0);
    assert_int_equal(pthread_create(&p.thread, NULL, serve, &p), 0);
    run(&s, (struct http_spec){.url = "http://docker/v1.41/info", .unix_socket = a.sun_path});
    peer_stop(&p);
    assert_string_equal(s.body, "ok");
    unlink(a.sun_path);
    s = (struct seen){0};
    run(&s, (struct http_spec){.url = "http://docker/v1.41/info", .unix_socket = a.sun_path});
    assert_int_equal(s.failure, HTTP_FAIL_CONNECT);
    assert_non_null(strstr(s.msg, a.sun_path));
}

static void cancelling_and_freeing_inside_a_callback_end_it_silently(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct peer p = {.answer = "HTTP/1.1 200 OK\r\n\r\nab", .stall = true};
        struct seen s = {.cancel = i == 0, .free_all = i == 1};

        peer_start(&p);
        run(&s, (struct http_spec){.url = p.url, .on_data = on_data});
        peer_stop(&p);
        assert_int_equal(s.done, 0);
    }
}

static void a_url_that_is_none_is_told_as_such(void **state)
{
    struct seen s = {0};

    (void)state;
    run(&s, (struct http_spec){.url = "http://["});
    assert_int_equal(s.failure, HTTP_FAIL_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_of_any_status_is_an_answer),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(a_refused_connection_is_told),
        cmocka_unit_test(silence_before_and_after_the_first_byte_differ),
        cmocka_unit_test(a_cut_answer_is_broken),
        cmocka_unit_test(an_answer_over_its_limit_is_refused),
        cmocka_unit_test(a_post_carries_its_body_and_no_expect),
        cmocka_unit_test(a_file_is_uploaded_with_progress),
        cmocka_unit_test(a_unix_socket_works_and_names_itself_in_errors),
        cmocka_unit_test(cancelling_and_freeing_inside_a_callback_end_it_silently),
        cmocka_unit_test(a_url_that_is_none_is_told_as_such),
    };

    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
