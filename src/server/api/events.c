// GET /api/v1/events: what changes, as it changes.
#include "server/internal.h"
#include "server/listener.h"

#include <errno.h>
#include <stdlib.h>

static bool parse_revision(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0)
        return false;
    *ret = value;
    return true;
}

static void get_events(struct request *r)
{
    struct server *s = request_server(r);
    // A browser that connects again sends both: the address of the first time and the last number.
    const char *last = request_header(r, "Last-Event-ID");
    const char *since = request_query(r, "since");
    int64_t revision = -1;
    if (!(last && parse_revision(last, &revision)) && since && !parse_revision(since, &revision)) {
        reply_problem(r, 400, "bad_input", _("since must be the number of a revision"));
        return;
    }
    struct listener *l = listener_create(s->events, kb_language_of(request_lang(r)));
    struct kb_error err = {0};
    if (listener_greet(l, request_store(r), revision, &err) != KB_OK) {
        reply_error(r, &err);
    } else {
        reply_header(r, "Cache-Control", "no-store");
        reply_header(r, "X-Accel-Buffering", "no"); // nginx would hold events back
        reply_stream(r, "text/event-stream; charset=utf-8", listener_read, listener_leave, l,
                     listener_stream(l));
        listener_join(l);
    }
    listener_unref(l);
}

const struct route api_events_routes[] = {
    {"GET", "/api/v1/events", get_events, 0, NULL},
    {0},
};
