// The machines of the cluster (docs/cluster.md): adding, naming, draining, renewing, removing them.
#include "server/internal.h"

#include "base/file.h"
#include "base/uri.h"
#include "cluster/head.h"
#include "queue/node.h"
#include "server/api/fields.h"

#include <stdlib.h>
#include <string.h>

#define TITLE_LETTERS 100
#define NAME_LETTERS  100 // that are read; node_add() says how many a name has

// Only the head of a cluster has machines. False: it is answered.
static bool has_cluster(struct request *r)
{
    if (request_server(r)->head)
        return true;
    reply_problem(r, 409, "no_cluster",
                  _("this server works alone; start it with --cluster redis://… to let other "
                    "machines work with it (docs/cluster.md)"));
    return false;
}

// That machine as the list has it, a new reference.
static enum kb_code find_node(struct request *r, const char *name, json_t **ret,
                              struct kb_error *err)
{
    CLEANUP(text_free) struct text list = {0};
    size_t i;
    json_t *node;
    enum kb_code code = node_list_json(request_store(r), &list, err);
    if (code != KB_OK)
        return code;
    json_auto_t *all = json_loads(text_get(&list), 0, NULL);
    json_array_foreach(all, i, node)
    {
        const char *its = json_string_value(json_object_get(node, "name"));
        if (its && strcmp(its, name) == 0) {
            *ret = json_incref(node);
            return KB_OK;
        }
    }
    return kb_fail(err, KB_NOT_FOUND, _("there is no machine '%s' (any more)"), name);
}

static void reply_object(struct request *r, int status, const json_t *object)
{
    CLEANUP(kb_freep) char *json = json_dumps(object, JSON_COMPACT);
    reply_json(r, status, json);
}

static void nodes_list(struct request *r)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text list = {0};
    if (!has_cluster(r))
        return;
    if (node_list_json(request_store(r), &list, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    json_auto_t *items = json_loads(text_get(&list), 0, NULL);
    json_auto_t *answer =
        json_pack("{s:I, s:O}", "total", (json_int_t)json_array_size(items), "items", items);
    reply_object(r, 200, answer);
}

// --- what is to be pasted on the machine

static char *copy_of(const char *text, size_t n)
{
    return kb_printf("%.*s", (int)n, text);
}

// As one word of a shell.
static char *quoted(const char *word)
{
    struct text t = {0}; // its memory is handed over
    text_add(&t, "'");
    for (; *word; word++)
        if (*word == '\'')
            text_add(&t, "'\\''");
        else
            text_add_bytes(&t, word, 1);
    text_add(&t, "'");
    return t.data;
}

static bool is_loopback_host(const char *host)
{
    return server_is_loopback(host) || strcmp(host, "[::1]") == 0;
}

// How much of "host:7860" or "[2001:db8::1]:7860" is the host.
static size_t host_length(const char *authority)
{
    const char *end = *authority == '[' ? strchr(authority, ']') : NULL;
    return end ? (size_t)(end - authority) + 1 : strcspn(authority, ":/?#");
}

// "host:7860" by which whoever asks reaches this server; by which other machines do, if that is
// known and theirs is not. A new string.
static char *address_for_nodes(const struct request *r)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ".-_:[]";
    const char *address = request_header(r, "Host");
    size_t n = address ? strlen(address) : 0;
    if (n == 0 || n > 255 || strspn(address, letters) != n)
        address = request_server(r)->base_url + strlen("http://");
    CLEANUP(kb_freep) char *host = copy_of(address, host_length(address));
    CLEANUP(kb_freep) char *outside = is_loopback_host(host) ? server_outside_address() : NULL;
    return kb_printf("%s%s", outside ? outside : host, address + strlen(host));
}

// The address of Redis as a machine needs it: not the user and the password of this server, for
// which words stand, and not a name that elsewhere means another machine. A new string.
static char *redis_for_nodes(const char *url, const char *here, bool *ret_password,
                             bool *ret_loopback)
{
    const char *start = strstr(url, "://");
    start = start ? start + 3 : url;
    const char *at = memrchr(start, '@', strcspn(start, "/?#"));
    const char *address = at ? at + 1 : start;
    CLEANUP(kb_freep) char *host = copy_of(address, host_length(address));
    CLEANUP(kb_freep) char *ours = copy_of(here, host_length(here));
    *ret_password = at != NULL;
    *ret_loopback = is_loopback_host(host);
    return kb_printf("%.*s%s%s%s", (int)(start - url), url, at ? "USER:PASSWORD@" : "",
                     *ret_loopback ? ours : host, address + strlen(host));
}

static bool is_behind_proxy(const struct server *s)
{
    return s->params.proxies && *s->params.proxies;
}

// In a folder of sources koubo is started by its script, and so it most likely is there.
static bool is_started_by_script(void)
{
    CLEANUP(kb_freep) char *script = path_beside_program("../start.sh");
    return file_exists(script);
}

static void add_line(json_t *lines, char *line)
{
    json_array_append_new(lines, json_string(line));
    free(line);
}

// What in the address of an S3 store holds for this machine alone.
static void warn_of_depot(json_t *warnings, const char *depot)
{
    CLEANUP(kb_freep) char *query = kb_strdup(depot + strcspn(depot, "?"));
    char *rest = *query ? query + 1 : query;
    for (char *part; (part = strsep(&rest, "&"));) {
        char *value = part + strcspn(part, "=");
        if (!*value || !uri_decode(++value, false))
            continue;
        const char *address = strstr(value, "://");
        address = address ? address + strlen("://") : value;
        CLEANUP(kb_freep) char *host = copy_of(address, host_length(address));
        if (text_begins(part, "endpoint=") && is_loopback_host(host))
            add_line(warnings, kb_strdup(_("the S3 store is reached by an address of this machine "
                                           "alone (endpoint): put one there by which the others "
                                           "reach it, for this server too")));
        if (text_begins(part, "ca="))
            add_line(warnings, kb_strdup(_("put the file that --depot names (ca) onto that machine "
                                           "too")));
    }
}

// {"node", "secret", "commands", "warnings"}: the only time that the secret is told.
static void reply_secret(struct request *r, int status, const char *name, const char *secret)
{
    const struct server *s = request_server(r);
    struct kb_error err = {0};
    json_t *node = NULL;
    if (find_node(r, name, &node, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    bool password, loopback;
    CLEANUP(kb_freep) char *here = address_for_nodes(r);
    CLEANUP(kb_freep)
    char *redis = redis_for_nodes(s->params.head.redis, here, &password, &loopback);
    CLEANUP(kb_freep) char *redis_word = quoted(redis);
    CLEANUP(kb_freep)
    char *depot = s->params.head.depot
                      ? kb_strdup(s->params.head.depot)
                      : kb_printf("%s://%s", request_is_secure(r) ? "https" : "http", here);
    CLEANUP(kb_freep) char *depot_word = quoted(depot);
    json_t *lines = json_array(), *warnings = json_array();
    static const char keep[] = "printf '%%s\\n' %s | install -D -m 600 /dev/stdin "
                               "~/.config/koubo/%s.%s";
    CLEANUP(kb_freep) char *secret_word = quoted(secret);
    add_line(lines, kb_printf(keep, secret_word, name, "token"));
    add_line(lines, kb_printf(keep, redis_word, name, "cluster"));
    add_line(lines,
             kb_printf("%s node --name %s --cluster-file ~/.config/koubo/%s.cluster "
                       "--token-file ~/.config/koubo/%s.token --depot %s%s",
                       is_started_by_script() ? "./start.sh" : "koubo", name, name, name,
                       depot_word,
                       s->params.head.depot ? " --depot-credentials ~/.config/koubo/depot" : ""));
    if (is_started_by_script())
        add_line(warnings, kb_strdup(_("paste them in the folder of koubo there")));
    if (password)
        add_line(warnings,
                 kb_strdup(_("in the second line put the user and the password that Redis has for "
                             "machines in the place of USER:PASSWORD")));
    if (loopback)
        add_line(warnings,
                 kb_strdup(_("Redis is reached by an address of this machine alone; let it listen "
                             "to the others, with a password (docs/cluster.md)")));
    if (strstr(redis, "?") && (strstr(redis, "ca=") || strstr(redis, "cert=")))
        add_line(warnings, kb_strdup(_("put the files that the second line names (ca, cert, key) "
                                       "onto that machine too")));
    if (!s->params.head.depot && !is_behind_proxy(s) && server_is_loopback(s->params.listen))
        add_line(warnings, kb_strdup(_("other machines cannot reach this server for files: start "
                                       "it with --listen 0.0.0.0 and a token")));
    if (s->params.head.depot) {
        warn_of_depot(warnings, s->params.head.depot);
        add_line(warnings, kb_strdup(_("put a machine's keys to the S3 store into "
                                       "~/.config/koubo/depot there, for its owner alone to read "
                                       "(chmod 600); docs/cluster.md says what they may do")));
    }
    json_auto_t *answer = json_pack("{s:o, s:s, s:o, s:o}", "node", node, "secret", secret,
                                    "commands", lines, "warnings", warnings);
    reply_object(r, status, answer);
}

// --- changes

static void nodes_create(struct request *r)
{
    static const char *const names[] = {"name", "title", NULL};
    struct kb_error err = {0}, ignored = {0};
    struct node there;
    const char *name, *title;
    char secret[65];
    json_t *body;
    if (!has_cluster(r) || !(body = request_json(r)) || !fields_known(r, body, names) ||
        !field_text(r, body, "name", true, NAME_LETTERS, &name) ||
        !field_text(r, body, "title", false, TITLE_LETTERS, &title))
        return;
    enum kb_code code = node_add(request_store(r), name, title, secret, &err);
    if (code == KB_BAD_INPUT && node_get(request_store(r), name, &there, &ignored) == KB_OK) {
        explicit_bzero(&there, sizeof(there));
        reply_conflict(r, &err);
    } else if (code != KB_OK) {
        reply_error(r, &err);
    } else {
        head_wake(request_server(r)->head);
        reply_secret(r, 201, name, secret);
    }
    explicit_bzero(secret, sizeof(secret));
}

static void nodes_renew(struct request *r)
{
    struct kb_error err = {0};
    const char *name = request_part(r, 0);
    char secret[65];
    if (!has_cluster(r))
        return;
    if (node_renew(request_store(r), name, secret, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    head_wake(request_server(r)->head);
    reply_secret(r, 200, name, secret);
    explicit_bzero(secret, sizeof(secret));
}

static void nodes_change(struct request *r)
{
    static const char *const names[] = {"title", "draining", NULL};
    struct kb_error err = {0};
    const char *name = request_part(r, 0), *title;
    bool draining, has_draining;
    json_t *body, *found;
    if (!has_cluster(r) || !(body = request_json(r)) || !fields_known(r, body, names) ||
        !field_text(r, body, "title", false, TITLE_LETTERS, &title) ||
        !field_bool(r, body, "draining", &draining, &has_draining))
        return;
    enum kb_code code = KB_OK;
    if (title)
        code = node_rename(request_store(r), name, title, &err);
    if (code == KB_OK && has_draining)
        code = node_drain(request_store(r), name, draining, &err);
    if (code == KB_OK)
        code = find_node(r, name, &found, &err);
    if (code != KB_OK) {
        reply_error(r, &err);
        return;
    }
    head_wake(request_server(r)->head);
    json_auto_t *node = found;
    reply_object(r, 200, node);
}

static void nodes_delete(struct request *r)
{
    struct kb_error err = {0};
    if (!has_cluster(r))
        return;
    if (node_remove(request_store(r), request_part(r, 0), &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    head_wake(request_server(r)->head);
    reply_empty(r, 204);
}

const struct route api_nodes_routes[] = {
    {"GET", "/api/v1/nodes", nodes_list, 0, NULL},
    {"POST", "/api/v1/nodes", nodes_create, 0, NULL},
    {"PATCH", "/api/v1/nodes/{name}", nodes_change, 0, NULL},
    {"DELETE", "/api/v1/nodes/{name}", nodes_delete, 0, NULL},
    {"POST", "/api/v1/nodes/{name}/renew", nodes_renew, 0, NULL},
    {0},
};
