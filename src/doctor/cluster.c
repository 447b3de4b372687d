// Many machines: does Redis answer and keep what it is told, may its user do what koubo does with
// it, does the depot work, and which machines are heard.
#include "cluster/depot.h"
#include "cluster/wire.h"
#include "doctor/internal.h"
#include "queue/node.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REDIS_WAIT_MS   3000
#define DEPOT_STALL_MS  5000
#define CLOCK_OFF_S     60  // what people notice in a log
#define CLOCK_REFUSED_S 900 // from there on S3 takes no signature
#define OLDEST_REDIS    5   // which has streams
#define MAX_SPOKEN      20  // machines that are told of one by one

static void reply_free(redisReply **r)
{
    freeReplyObject(*r);
}

// --- Redis

// The value of "name:value" among the lines of INFO, "" if it is not there.
static void read_info(const redisReply *info, const char *name, char ret[64])
{
    size_t n = strlen(name);
    *ret = '\0';
    if (!info || info->type != REDIS_REPLY_STRING)
        return;
    for (const char *line = info->str; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            snprintf(ret, 64, "%.*s", (int)strcspn(line + n + 1, "\r\n"), line + n + 1);
            return;
        }
    }
}

static void say_unreachable(struct doctor *d, const struct kb_error *err)
{
    doctor_add(d, "redis", "Redis", FINDING_PROBLEM,
               err->code == KB_BAD_INPUT
                   ? _("correct the address, the user, the password or the certificate: koubo and "
                       "Redis must know the same")
                   : _("start Redis, and let this machine reach its port; jobs wait as long, none "
                       "is lost"),
               "%s", err->text);
}

// What it says of itself. A user who may not ask learns nothing, which is fine.
static void look_at_info(struct doctor *d, const redisReply *info, const char *place, double ms)
{
    char version[64], role[64], limit[64], policy[64], saved[64];
    read_info(info, "redis_version", version);
    read_info(info, "role", role);
    read_info(info, "maxmemory", limit);
    read_info(info, "maxmemory_policy", policy);
    read_info(info, "rdb_last_bgsave_status", saved);
    const char *shown = *version ? version : _("unknown, its user may not ask");
    if (*version && atoi(version) < OLDEST_REDIS)
        doctor_add(d, "redis", "Redis", FINDING_PROBLEM,
                   _("install Redis 5 or newer; koubo is tested with 7"),
                   _("%s has version %s, which has no streams"), place, version);
    else if (strcmp(role, "slave") == 0)
        doctor_add(d, "redis", "Redis", FINDING_PROBLEM,
                   _("give koubo the address of the master, or one that follows it"),
                   _("%s is a replica, which takes nothing"), place);
    else if (strcmp(saved, "err") == 0)
        doctor_add(d, "redis", "Redis", FINDING_PROBLEM,
                   _("give its disk space, or let it write nothing (save \"\" in redis.conf): "
                     "koubo needs none of it after a restart"),
                   _("%s could not write its file the last time; it may take nothing as long"),
                   place);
    else if (atoll(limit) > 0 && *policy && strcmp(policy, "noeviction") != 0)
        doctor_add(d, "redis", "Redis", FINDING_WARNING,
                   _("set maxmemory-policy noeviction in redis.conf"),
                   _("%s throws away what others need when its memory is full (%s): no job is "
                     "lost by it, but jobs wait"),
                   place, policy);
    else
        doctor_add(d, "redis", "Redis", FINDING_OK, NULL, _("%s answers in %.0f ms; version %s"),
                   place, ms, shown);
}

static bool is_open(const char *url, const char *place)
{
    const char *host = strstr(place, "://") + 3;
    return !strchr(url, '@') && strncmp(host, "127.", 4) != 0 && strncmp(host, "[::1]", 5) != 0 &&
           strncmp(host, "localhost:", 10) != 0;
}

// --- what its user may

struct rights {
    struct redis *redis;
    struct text missing; // "XADD koubo:told, …"
    int n_missing;
    bool is_lost; // the connection, so nothing more was asked
};

// Tries a command on the key of that name. Whatever else it answers, only whether it is allowed
// counts. some_key: one of another name may be.
static void try_right(struct rights *r, bool some_key, const char *format)
{
    struct kb_error err = {0};
    if (r->is_lost)
        return;
    enum kb_code code = redis_ask(r->redis, NULL, 0, &err, format, redis_prefix(r->redis));
    r->is_lost = code == KB_UNAVAILABLE;
    if (!strstr(err.text, "NOPERM") || (some_key && strstr(err.text, "key")))
        return;
    const char *key = strstr(format, "%s");
    int n_word = (int)strcspn(format, " ");
    text_add(&r->missing, r->n_missing++ ? ", " : "");
    if (key)
        text_addf(&r->missing, "%.*s %s%.*s", n_word, format, redis_prefix(r->redis),
                  (int)strcspn(key + 2, " "), key + 2);
    else
        text_addf(&r->missing, "%.*s", n_word, format);
}

// What a machine does, in ways that change nothing.
static void try_node(struct rights *r)
{
    try_right(r, false, "GET %s:pulse");
    try_right(r, false, "XADD %s:told 0-0 a b");
    try_right(r, false, "XREADGROUP GROUP doctor doctor COUNT 1 STREAMS %s:jobs >");
    try_right(r, false, "XGROUP CREATE %s:jobs nodes 0");
    try_right(r, false, "XACK %s:jobs nodes 0-1");
    try_right(r, false, "XDEL %s:jobs 0-1");
    try_right(r, true, "XREAD COUNT 1 STREAMS %s:to:doctor 0");
    try_right(r, true, "XREVRANGE %s:to:doctor + - COUNT 1");
}

// What a head does: queued as a transaction, which is where Redis looks at rights, and dropped.
static void try_head(struct rights *r)
{
    static const char *const commands[] = {
        "SET %s:pulse x",
        "GET %s:pulse",
        "SET %s:head x",
        "GET %s:head",
        "DEL %s:head",
        "DEL %s:jobs",
        "XADD %s:jobs * a b",
        "XACK %s:jobs nodes 0-1",
        "XDEL %s:jobs 0-1",
        "XREAD COUNT 1 STREAMS %s:told 0",
        "XREVRANGE %s:told + - COUNT 1",
        "XADD %s:to:doctor * a b",
        "EXPIRE %s:to:doctor 1",
    };
    try_right(r, false, "WATCH %s:head");
    try_right(r, false, "UNWATCH");
    try_right(r, false, "EXEC"); // without MULTI it is but an error
    int n_before = r->n_missing;
    try_right(r, false, "MULTI");
    if (r->n_missing > n_before)
        return;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        try_right(r, false, commands[i]);
    try_right(r, false, "DISCARD");
}

static void look_at_rights(struct doctor *d, struct redis *redis)
{
    CLEANUP(text_free) struct text missing = {0};
    struct rights head = {.redis = redis}, node = {.redis = redis};
    try_node(&node);
    try_head(&head);
    bool is_lost = node.is_lost || head.is_lost;
    bool is_good = d->is_head ? head.n_missing == 0 : head.n_missing == 0 || node.n_missing == 0;
    const struct rights *wanted = d->is_head ? &head : &node;
    if (!is_lost && !is_good)
        doctor_add(d, "rights", _("rights in Redis"), FINDING_PROBLEM,
                   _("docs/cluster.md has the lines for Redis's users, of the head and of the "
                     "machines"),
                   d->is_head ? _("its user may not do what the head does: %s")
                              : _("its user may not do what a machine does: %s"),
                   text_get(&wanted->missing));
    else if (!is_lost)
        doctor_add(d, "rights", _("rights in Redis"), FINDING_OK, NULL, "%s",
                   head.n_missing > 0   ? _("its user may do what a machine does, and no more")
                   : node.n_missing > 0 ? _("its user may do what the head does")
                                        : _("its user may do what the head and the machines do"));
    text_free(&head.missing);
    text_free(&node.missing);
}

static void look_at_pulse(struct doctor *d, struct redis *redis)
{
    char pulse[WIRE_NONCE_BYTES];
    if (wire_pulse(redis, pulse, NULL) != KB_OK)
        return;
    if (*pulse)
        doctor_add(d, "head", _("head"), FINDING_OK, NULL, _("there is one under the name '%s'"),
                   redis_prefix(redis));
    else
        doctor_add(d, "head", _("head"), FINDING_WARNING,
                   _("start koubo serve --cluster with this address (and the same ?prefix= as the "
                     "machines)"),
                   _("none was there within the last minute under the name '%s'"),
                   redis_prefix(redis));
}

static void look_at_redis(struct doctor *d)
{
    CLEANUP(redis_close) struct redis *redis = NULL;
    CLEANUP(reply_free) redisReply *info = NULL;
    struct kb_error err = {0};
    const struct redis_params p = {.url = d->redis, .timeout_ms = REDIS_WAIT_MS};
    enum kb_code code = redis_open(&redis, &p, &err);
    if (code == KB_OK) // connects; whether that user may is another question
        code = redis_ask(redis, NULL, 0, &err, "PING");
    if (code != KB_OK && !(redis && redis_is_connected(redis))) {
        say_unreachable(d, &err);
        return;
    }
    int64_t begin = kb_now_us();
    code = redis_ask(redis, &info, 0, &err, "INFO");
    double ms = (double)(kb_now_us() - begin) / 1e3;
    if (code == KB_UNAVAILABLE) {
        say_unreachable(d, &err);
        return;
    }
    look_at_info(d, info, redis_place(redis), ms);
    if (is_open(d->redis, redis_place(redis)))
        doctor_add(d, "password", _("Redis's password"), FINDING_WARNING,
                   _("docs/cluster.md says how Redis gets users and TLS"), "%s",
                   _("none: whoever reaches Redis can read what machines are told, and stop "
                     "the jobs"));
    look_at_rights(d, redis);
    look_at_pulse(d, redis);
}

// --- the depot

static enum kb_code try_s3(const struct depot_params *p, int64_t *ret_ms, int64_t *ret_ahead_ms,
                           struct kb_error *err)
{
    CLEANUP(depot_close) struct depot *depot = NULL;
    enum kb_code code = depot_open(&depot, p, err);
    return code == KB_OK ? depot_try(depot, ret_ms, ret_ahead_ms, err) : code;
}

static void look_at_s3(struct doctor *d, const char *place)
{
    struct kb_error err = {0};
    struct depot_params p = {.address = d->depot,
                             .credentials = d->credentials,
                             .stall_ms = DEPOT_STALL_MS,
                             .pause_ms = 100};
    int64_t ms = 0, ahead_ms = 0;
    enum kb_code code = try_s3(&p, &ms, &ahead_ms, &err);
    bool is_node = false;
    if (code == KB_BAD_INPUT) { // keys of a machine may do less
        struct kb_error ignored = {0};
        p.side = DEPOT_NODE;
        is_node = try_s3(&p, &ms, &ahead_ms, &ignored) == KB_OK;
        code = is_node ? KB_OK : code;
    }
    long long off_s = llabs(ahead_ms) / 1000;
    if (code != KB_OK)
        doctor_add(d, "depot", _("depot"), FINDING_PROBLEM,
                   code == KB_BAD_INPUT
                       ? _("correct the address, the keys or what they may do (docs/cluster.md: "
                           "those of the head, those of a machine)")
                       : _("look whether the store runs and this machine reaches it; jobs wait as "
                           "long"),
                   "%s", err.text);
    else if (off_s > CLOCK_OFF_S)
        doctor_add(d, "depot", _("depot"), FINDING_WARNING,
                   _("let both set their clocks by NTP: from 15 minutes on the store refuses "
                     "everything"),
                   _("%s works, but its clock and this machine's are %lld s apart"), place, off_s);
    else
        doctor_add(d, "depot", _("depot"), FINDING_OK, NULL,
                   is_node
                       ? _("%s: with the keys of a machine a small file was written in %lld ms; "
                           "the head removes it")
                       : _("%s: a small file was written, read and removed in %lld ms"),
                   place, (long long)ms);
}

static void look_at_depot(struct doctor *d)
{
    CLEANUP(kb_freep) char *place = kb_printf("%.*s", (int)strcspn(d->depot, "?"), d->depot);
    if (depot_is_s3(d->depot)) {
        look_at_s3(d, place);
        return;
    }
    struct kb_error err = {0};
    double ms = doctor_ask_health(place, &err);
    if (ms >= 0)
        doctor_add(d, "depot", _("depot"), FINDING_OK, NULL, _("the head answers at %s in %.0f ms"),
                   place, ms);
    else
        doctor_add(d, "depot", _("depot"), FINDING_PROBLEM,
                   _("start the head with --listen 0.0.0.0, and let this machine reach its port"),
                   _("the head does not answer at %s: %s"), place, err.text);
}

// --- the machines

struct crowd {
    int n, n_heard, n_places, n_spoken;
};

static void say_node(struct doctor *d, struct crowd *c, const char *advice, const char *fmt, ...)
    KB_PRINTF(4, 5);

static void say_node(struct doctor *d, struct crowd *c, const char *advice, const char *fmt, ...)
{
    char text[1000];
    va_list args;
    if (c->n_spoken++ >= MAX_SPOKEN)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    doctor_add(d, "node", _("machine"), FINDING_WARNING, advice, "%s", text);
}

static void look_at_node(struct doctor *d, struct crowd *c, const json_t *node)
{
    const json_t *facts = json_object_get(node, "facts");
    const char *name = json_string_value(json_object_get(node, "name"));
    const char *state = json_string_value(json_object_get(node, "state"));
    const char *error = json_string_value(json_object_get(node, "error"));
    int64_t heard = json_integer_value(json_object_get(node, "heard"));
    int64_t clock = json_integer_value(json_object_get(facts, "clock"));
    int slots = (int)json_integer_value(json_object_get(node, "slots"));
    if (!name || !state)
        return;
    bool is_heard = strcmp(state, "new") != 0 && strcmp(state, "silent") != 0;
    c->n++;
    c->n_heard += is_heard;
    c->n_places += is_heard && strcmp(state, "active") == 0 ? slots : 0;
    if (strcmp(state, "new") == 0)
        say_node(d, c, _("run koubo node there, or remove the machine in the page"),
                 _("%s has never been heard"), name);
    else if (!is_heard)
        say_node(d, c,
                 _("look whether koubo node runs there and reaches Redis (koubo doctor --cluster); "
                   "its jobs go to others"),
                 _("%s was last heard %lld s ago"), name, (long long)(kb_wall_ms() - heard) / 1000);
    else if (strcmp(state, "refused") == 0)
        say_node(d, c, _("put the same version of koubo there as on the head"),
                 _("%s gets no jobs: %s"), name, error ? error : "");
    else if (strcmp(state, "active") == 0 && slots == 0)
        say_node(d, c, _("look at its disk and at koubo doctor there"),
                 _("%s is heard, but takes no job now"), name);
    if (is_heard && clock > 0 && llabs(clock - heard) / 1000 > CLOCK_OFF_S)
        say_node(d, c,
                 _("set its clock by NTP: koubo does not go by it, but the times in its log are "
                   "wrong, and S3 refuses who is 15 minutes off"),
                 _("the clock of %s differs by %lld s"), name,
                 (long long)llabs(clock - heard) / 1000);
}

static void look_at_nodes(struct doctor *d, const json_t *nodes)
{
    struct crowd c = {0};
    size_t i;
    const json_t *node;
    json_array_foreach(nodes, i, node) look_at_node(d, &c, node);
    if (c.n == 0 && d->redis)
        doctor_add(d, "nodes", _("machines"), FINDING_WARNING,
                   _("add one in the page's system view, which then shows what to run there"), "%s",
                   _("none has been added to this head"));
    else if (c.n > 0)
        doctor_add(d, "nodes", _("machines"), c.n_heard == 0 ? FINDING_WARNING : FINDING_OK,
                   c.n_heard == 0 ? _("the head must run with --cluster, and koubo node on each "
                                      "machine")
                                  : NULL,
                   _("known: %d; heard: %d, with room for %d jobs at a time"), c.n, c.n_heard,
                   c.n_places);
}

bool doctor_has_machines(const struct doctor *d, struct store *s)
{
    CLEANUP(kb_freep) struct node *nodes = NULL;
    int n = 0;
    return d->is_head || (node_list(s, &nodes, &n, NULL) == KB_OK && n > 0);
}

// The machines that the data folder knows, NULL: none can be read.
static json_t *load_nodes(const struct doctor *d)
{
    CLEANUP(store_close) struct store *s = NULL;
    CLEANUP(text_free) struct text text = {0};
    if (store_open(&s, d->data, false, NULL) != KB_OK || node_list_json(s, &text, NULL) != KB_OK)
        return NULL;
    return json_loads(text_get(&text), 0, NULL);
}

void doctor_look_at_cluster(struct doctor *d)
{
    json_t *nodes = load_nodes(d);
    d->is_head = d->is_head || json_array_size(nodes) > 0;
    if (d->redis)
        look_at_redis(d);
    if (d->depot)
        look_at_depot(d);
    if (nodes && !d->is_machine && (d->is_head || !d->depot || depot_is_s3(d->depot)))
        look_at_nodes(d, nodes);
    json_decref(nodes);
}
