#include "platform/sock-owner.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/own.h"

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

static bool put_end(const struct sockaddr_storage *a, __be16 *port, __be32 address[4])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

    if (a->ss_family == AF_INET) {
        *port = v4->sin_port;
        address[0] = v4->sin_addr.s_addr;
        return true;
    }
    if (a->ss_family != AF_INET6)
        return false;
    *port = v6->sin6_port;
    memcpy(address, &v6->sin6_addr, sizeof v6->sin6_addr);
    return true;
}

static struct question empty_question(int family)
{
    return (struct question){
        .head = {.nlmsg_len = sizeof(struct question),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST},
        .body = {.sdiag_family = (__u8)family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = ~0u,
                 .id = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}}};
}

/* As the other end sees the connection: its own side is the source. */
static bool make_question(int fd, struct question *q)
{
    struct sockaddr_storage ours, theirs;
    socklen_t ours_len = sizeof ours, theirs_len = sizeof theirs;
    struct inet_diag_sockid *id = &q->body.id;

    if (getsockname(fd, (struct sockaddr *)&ours, &ours_len) < 0 ||
        getpeername(fd, (struct sockaddr *)&theirs, &theirs_len) < 0)
        return false;
    *q = empty_question(ours.ss_family);
    return put_end(&theirs, &id->idiag_sport, id->idiag_src) &&
           put_end(&ours, &id->idiag_dport, id->idiag_dst);
}

static enum sock_owner read_answer(const void *answer, size_t len, uid_t *ret)
{
    const struct nlmsghdr *head = answer;
    const struct nlmsgerr *e = NLMSG_DATA(head);
    const struct inet_diag_msg *m = NLMSG_DATA(head);

    if (!NLMSG_OK(head, len))
        return SOCK_OWNER_UNKNOWN;
    if (head->nlmsg_type == NLMSG_ERROR)
        return head->nlmsg_len >= NLMSG_LENGTH(sizeof *e) && e->error == -ENOENT
                   ? SOCK_OWNER_NOT_HERE
                   : SOCK_OWNER_UNKNOWN;
    if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || head->nlmsg_len < NLMSG_LENGTH(sizeof *m))
        return SOCK_OWNER_UNKNOWN;
    *ret = m->idiag_uid;
    return SOCK_OWNER_KNOWN;
}

bool sock_owner_is_tcp(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;

    return getsockname(fd, (struct sockaddr *)&a, &len) == 0 && a.ss_family != AF_UNIX;
}

static enum sock_owner ask(const struct question *q, uid_t *ret)
{
    const struct timeval limit = {.tv_sec = 1}; /* the kernel answers within the send */
    char answer[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
    OWN_FD int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    ssize_t n;

    if (nl < 0 || setsockopt(nl, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        send(nl, q, sizeof *q, 0) != (ssize_t)sizeof *q)
        return SOCK_OWNER_UNKNOWN;
    n = recv(nl, answer, sizeof answer, 0);
    return n < 0 ? SOCK_OWNER_UNKNOWN : read_answer(answer, (size_t)n, ret);
}

bool sock_owner_can_tell(void)
{
    struct question q = empty_question(AF_INET); /* of 0.0.0.0:0, which nobody has */
    uid_t uid;

    return ask(&q, &uid) != SOCK_OWNER_UNKNOWN;
}

enum sock_owner sock_owner_of_peer(int fd, uid_t *ret)
{
    struct question q;
    struct ucred cred;
    socklen_t len = sizeof cred;

    if (!sock_owner_is_tcp(fd)) {
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
            return SOCK_OWNER_UNKNOWN;
        *ret = cred.uid;
        return SOCK_OWNER_KNOWN;
    }
    if (!make_question(fd, &q)) /* it has gone already */
        return SOCK_OWNER_NOT_HERE;
    return ask(&q, ret);
}
