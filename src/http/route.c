// From the address of a request to the route that serves it.
//
// The path is cut at its slashes first and each segment decoded once afterwards, so that "%2F" is
// never a slash. What no honest client sends (a decoded slash, "..", NUL or other control
// characters, broken UTF-8) is refused here; nothing behind this file sees it.
#include "http/internal.h"

#include "base/uri.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

// In place. False for broken escapes, NUL and broken UTF-8.
static bool decode(char *s, bool plus_is_space)
{
    return uri_decode(s, plus_is_space) && utf8_valid(s);
}

static bool decode_segment(char *s)
{
    if (!decode(s, false) || strchr(s, '/') || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static bool parse_query(struct request *r, char *query)
{
    char *rest = query;
    for (char *field = strsep(&rest, "&"); field; field = strsep(&rest, "&")) {
        if (!*field)
            continue;
        char *name = strsep(&field, "=");
        char *value = field ? field : name + strlen(name);
        if (r->n_query == MAX_QUERY || !decode(name, true) || !decode(value, true))
            return false;
        r->query[r->n_query++] = (struct query_field){name, value};
    }
    return true;
}

static bool parse_path(struct request *r, char *path)
{
    struct text decoded = {0};
    bool ok = true;
    char *rest = path;
    for (char *segment = strsep(&rest, "/"); ok && segment; segment = strsep(&rest, "/")) {
        ok = r->n_segments < MAX_SEGMENTS && decode_segment(segment);
        if (ok) {
            r->segments[r->n_segments++] = segment;
            text_add(&decoded, "/");
            text_add(&decoded, segment);
        }
    }
    r->path = decoded.data;
    return ok;
}

bool request_parse_uri(struct request *r)
{
    char *rest = r->uri;
    size_t scheme = uri_http(rest);
    r->target = kb_strdup(rest + scheme + (scheme ? strcspn(rest + scheme, "/?") : 0));
    char *query = strchr(rest, '?');
    if (query)
        *query++ = '\0';
    if (scheme > 0) { // the absolute form, as a proxy gets it: cut the name of the host out
        char *host = rest + scheme;
        size_t n = strcspn(host, "/");
        bool ends = host[n] == '\0';
        memmove(r->uri, host, n);
        r->uri[n] = '\0';
        r->authority = r->uri;
        rest = ends ? "/" : host + n;
    }
    if (strcmp(rest, "*") == 0 && strcmp(r->method, "OPTIONS") == 0) {
        r->path = kb_strdup("*");
        return true;
    }
    if (*rest != '/')
        return false;
    if (rest[1] == '\0') {
        r->path = kb_strdup("/");
        r->segments[r->n_segments++] = "";
    } else if (!parse_path(r, rest + 1)) {
        return false;
    }
    return !query || parse_query(r, query);
}

// --- routes

// How well a pattern fits the path: -1 = not at all, else the number of its words; r->parts are
// those of the last pattern that fits.
static int fit(struct request *r, const char *pattern)
{
    if (strcmp(pattern, "/*") == 0)
        return 0;
    int n_words = 1, n_parts = 0, i = 0;
    const char *parts[MAX_PARTS] = {0};
    for (const char *p = pattern; *p == '/'; i++) {
        size_t n = strcspn(++p, "/");
        if (i == r->n_segments)
            return -1;
        const char *segment = r->segments[i];
        if (*p == '{' && n_parts < MAX_PARTS && *segment)
            parts[n_parts++] = segment;
        else if (*p == '{' || strlen(segment) != n || memcmp(segment, p, n) != 0)
            return -1;
        else
            n_words++;
        p += n;
    }
    if (i != r->n_segments)
        return -1;
    memcpy(r->parts, parts, sizeof(parts));
    r->n_parts = n_parts;
    return n_words;
}

static void allow_add(struct text *allow, const char *method)
{
    size_t n = strlen(method);
    for (const char *p = text_get(allow); (p = strstr(p, method)); p += n)
        if ((p == allow->data || p[-1] == ' ') && (p[n] == ',' || p[n] == '\0'))
            return;
    if (allow->size > 0)
        text_add(allow, ", ");
    text_add(allow, method);
}

// The route among those that fit best (score) that has this method. Collects the methods.
static const struct route *find_method(struct request *r, int score, const char *method,
                                       struct text *allow)
{
    const struct route *found = NULL;
    for (int t = 0; r->http->tables[t]; t++) {
        for (const struct route *route = r->http->tables[t]; route->method; route++) {
            if (fit(r, route->pattern) != score)
                continue;
            allow_add(allow, route->method);
            if (strcmp(route->method, "GET") == 0)
                allow_add(allow, "HEAD");
            if (!found && strcmp(route->method, method) == 0)
                found = route;
        }
    }
    return found;
}

bool request_find_route(struct request *r)
{
    int best = -1;
    for (int t = 0; r->http->tables[t]; t++)
        for (const struct route *route = r->http->tables[t]; route->method; route++)
            best = KB_MAX(best, fit(r, route->pattern));

    bool options = strcmp(r->method, "OPTIONS") == 0;
    CLEANUP(text_free) struct text allow = {0};
    if (best >= 0) {
        r->route = find_method(r, best, r->method, &allow);
        if (!r->route && strcmp(r->method, "HEAD") == 0)
            r->route = find_method(r, best, "GET", &allow);
        if (r->route) {
            fit(r, r->route->pattern); // for the parts
            return true;
        }
        allow_add(&allow, "OPTIONS");
    }
    if (options && (best >= 0 || strcmp(r->path, "*") == 0)) {
        reply_header(r, "Allow", best >= 0 ? allow.data : "GET, HEAD, POST, OPTIONS");
        reply_empty(r, 204);
    } else if (best > 0) {
        reply_header(r, "Allow", allow.data);
        reply_problem(r, 405, "method", _("this address does not take requests of that kind"));
    } else {
        reply_problem(r, 404, "not_found", _("there is nothing at this address"));
    }
    return false;
}
