#include "prog/stigmer-server/status-runners.h"

#include "base/clock.h"
#include "base/str.h"
#include "svc/session-place.h"

static void put(const struct runner_api_runner *r, void *arg)
{
    char since[CLOCK_TEXT], trouble[200] = "";
    json_t *o;

    clock_format(r->since_ms, since);
    o = json_pack("{s:s,s:s,s:s,s:s,s:b,s:{s:i,s:i},s:s,s:I}", "id", r->id, "host", r->host,
                  "domain", session_place_domain_of(r->id), "version", r->version, "remote",
                  (int)r->remote, "slots", "used", (int)r->runs, "max", (int)r->slots, "since",
                  since, "rssBytes", (json_int_t)r->rss_bytes);
    if (!o) /* a text that is no UTF-8 cannot come in: protobuf-c lets it */
        return;
    if (!str_is_empty(r->session))
        json_object_set_new(o, "session", json_string(r->session));
    if (r->silent)
        (void)str_format(trouble, sizeof trouble, "nothing is heard of it");
    else if (!str_eq(r->version, STIGMER_VERSION))
        (void)str_format(trouble, sizeof trouble, "it is of version %.60s, the server of %s",
                         r->version, STIGMER_VERSION);
    if (*trouble)
        json_object_set_new(o, "trouble", json_string(trouble));
    json_array_append_new(arg, o);
}

json_t *status_runners(const struct runner_api *a)
{
    json_t *list = json_array();

    runner_api_list(a, put, list);
    return list;
}
