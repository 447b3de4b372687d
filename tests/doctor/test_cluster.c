// What the doctor says of many machines: a real Redis in good and bad states, users with more and
// fewer rights, machines that are heard, silent, refused or have another clock.
#include "base/place.h"
#include "cluster/wire.h"
#include "doctor/internal.h"
#include "queue/node.h"
#include "store/sql.h"
#include "tests/cluster/redis_server.h"
#include "tests/cluster/s3_store.h"

static struct kb_error err;
static char *folder; // without a database, unless a test makes one

static int set_up(void **state)
{
    assert_ok(err, place_make(&folder, "koubo-doctor", &err));
    return 0;
}

static int tear_down(void **state)
{
    place_end(&folder);
    return 0;
}

// The finding of that name that says text, "" = any; NULL: there is none.
static const struct finding *find(const struct doctor *d, const char *name, const char *text)
{
    for (int i = 0; i < d->n_findings; i++)
        if (strcmp(d->findings[i].name, name) == 0 && strstr(d->findings[i].text, text))
            return &d->findings[i];
    return NULL;
}

static void print_all(const struct doctor *d)
{
    for (int i = 0; i < d->n_findings; i++)
        print_message("%s %d: %s\n", d->findings[i].name, (int)d->findings[i].level,
                      d->findings[i].text);
}

static void check(const struct doctor *d, const char *name, enum finding_level level,
                  const char *text)
{
    const struct finding *f = find(d, name, text);
    if (f && f->level == level && (level == FINDING_OK || f->advice))
        return;
    print_all(d);
    fail_msg("no finding '%s' of level %d with '%s' and advice", name, (int)level, text);
}

static void look(struct doctor *d, const char *redis)
{
    d->data = folder;
    d->redis = redis;
    doctor_look_at_cluster(d);
}

static void ask(const struct redis_server *s, const char *command)
{
    CLEANUP(kb_freep) char *url = redis_server_url(s, "");
    CLEANUP(redis_close) struct redis *r = NULL;
    assert_ok(err, redis_open(&r, &(struct redis_params){.url = url, .timeout_ms = 60000}, &err));
    assert_ok(err, redis_ask(r, NULL, 0, &err, command));
}

static void test_says_nothing_of_one_machine(void **state)
{
    CLEANUP(doctor_clear) struct doctor d = {0};
    look(&d, NULL);
    CLEANUP(store_close) struct store *s = NULL;
    assert_ok(err, store_open(&s, folder, true, &err));
    look(&d, NULL);
    assert_int_equal(d.n_findings, 0);
}

static void test_redis(void **state)
{
    if (!redis_server_is_here())
        SKIP_TEST("no redis-server here");
    struct redis_server server;
    redis_server_start(&server, NULL);
    CLEANUP(kb_freep) char *url = redis_server_url(&server, "/?prefix=p");
    CLEANUP(doctor_clear) struct doctor d = {0};
    look(&d, url);
    check(&d, "redis", FINDING_OK, "version ");
    check(&d, "rights", FINDING_OK, "what the head and the machines do");
    check(&d, "head", FINDING_WARNING, "'p'");
    assert_null(find(&d, "password", "")); // nobody else reaches it
    doctor_clear(&d);
    ask(&server, "SET p:pulse 00112233445566778899aabbccddeeff");
    ask(&server, "XADD p:jobs 1-1 job 1 lease 1");
    ask(&server, "CONFIG SET maxmemory 100mb");
    ask(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    look(&d, url);
    check(&d, "redis", FINDING_WARNING, "allkeys-lru");
    check(&d, "head", FINDING_OK, "'p'");
    doctor_clear(&d);

    // It has left all as it was, but for the group that machines want.
    CLEANUP(redis_close) struct redis *r = NULL;
    assert_ok(err, redis_open(&r, &(struct redis_params){.url = url, .timeout_ms = 60000}, &err));
    redisReply *reply = NULL;
    assert_ok(err, redis_ask(r, &reply, 0, &err, "KEYS *"));
    assert_int_equal(reply->elements, 2);
    freeReplyObject(reply);
    struct wire_offer offer;
    int n = 0;
    assert_ok(err, wire_take(r, "n1", 0, &offer, 1, &n, &err));
    assert_int_equal(n, 1);

    ask(&server, "CONFIG SET maxmemory-policy noeviction");
    look(&d, url);
    check(&d, "redis", FINDING_OK, "");
    doctor_clear(&d);
    ask(&server, "REPLICAOF 127.0.0.1 1");
    look(&d, url);
    check(&d, "redis", FINDING_PROBLEM, "replica");
    doctor_clear(&d);
    redis_server_kill(&server);
    look(&d, url);
    check(&d, "redis", FINDING_PROBLEM, "cannot be reached");
    assert_int_equal(d.n_findings, 1);
    doctor_clear(&d);
    redis_server_stop(&server);
    look(&d, "redis://hunter2/hunter2");
    check(&d, "redis", FINDING_PROBLEM, "number of the database");
}

// Users of tools/cluster/users.acl: enough for each, and no more. machine: the one of machines.
static void check_rights(const struct redis_server *server, const char *machine)
{
    CLEANUP(kb_freep) char *head_user = kb_strdup("head:CHANGE-ME-1@");
    CLEANUP(kb_freep) char *machine_user = kb_printf("%s:CHANGE-ME-2@", machine);
    CLEANUP(kb_freep) char *wrong = kb_printf("%s:wrong@", machine);
    const struct {
        const char *user;
        bool is_head;
        const char *name, *text;
        enum finding_level level;
    } cases[] = {
        {head_user, true, "rights", "what the head does", FINDING_OK},
        {head_user, false, "rights", "what the head does", FINDING_OK},
        {machine_user, false, "rights", "and no more", FINDING_OK},
        {machine_user, true, "rights", "WATCH koubo:head", FINDING_PROBLEM},
        {wrong, false, "redis", "refuses the user", FINDING_PROBLEM},
        {"", false, "redis", "NOAUTH", FINDING_PROBLEM},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep)
        char *url = kb_printf("redis://%s127.0.0.1:%d", cases[i].user, server->port);
        CLEANUP(doctor_clear) struct doctor d = {.is_head = cases[i].is_head};
        look(&d, url);
        check(&d, cases[i].name, cases[i].level, cases[i].text);
    }
    // Another prefix is another cluster's.
    CLEANUP(kb_freep)
    char *url = kb_printf("redis://%s127.0.0.1:%d/?prefix=studio", machine_user, server->port);
    CLEANUP(doctor_clear) struct doctor d = {0};
    look(&d, url);
    check(&d, "rights", FINDING_PROBLEM, "GET studio:pulse, XADD studio:told");
}

// All that a head and a machine do, with these rights.
static void do_all(struct redis *head, struct redis *node)
{
    static const char nonce[] = "00112233445566778899aabbccddeeff";
    char pulse[WIRE_NONCE_BYTES], id[WIRE_ID_BYTES];
    char told_after[WIRE_ID_BYTES] = "$", orders_after[WIRE_ID_BYTES] = "$";
    bool is_head = false;
    int n = 0, forged = 0;
    struct wire_offer offer;
    struct wire_told told;
    json_t *order = NULL;
    assert_ok(err, wire_be_head(head, "me", 60000, &is_head, &err));
    assert_true(is_head);
    assert_ok(err, wire_set_pulse(head, nonce, &err));
    assert_ok(err, wire_pulse(head, pulse, &err));
    assert_ok(err, wire_pulse(node, pulse, &err));
    assert_ok(err, wire_hear(head, told_after, 0, &told, 1, &n, NULL, &err));
    assert_ok(err, wire_orders(node, "n1", "s", orders_after, 0, &order, 1, &n, &forged, &err));
    assert_ok(err, wire_take(node, "n1", 0, &offer, 1, &n, &err));
    assert_ok(err, wire_offer(head, 1, 2, id, &err));
    assert_ok(err, wire_take(node, "n1", 0, &offer, 1, &n, &err));
    assert_int_equal(n, 1);
    assert_ok(err, wire_tell(node, "n1", "s", nonce, json_pack("{s:s}", "is", "taken"), &err));
    assert_ok(err, wire_hear(head, told_after, 0, &told, 1, &n, NULL, &err));
    assert_int_equal(n, 1);
    wire_told_free(&told);
    assert_ok(err, wire_order(head, "n1", "s", json_pack("{s:s}", "is", "go"), &err));
    assert_ok(err, wire_orders(node, "n1", "s", orders_after, 0, &order, 1, &n, &forged, &err));
    assert_int_equal(n, 1);
    json_decref(order);
    assert_ok(err, wire_withdraw(node, id, &err));
    assert_ok(err, wire_withdraw(head, id, &err));
    assert_ok(err, redis_ask(head, NULL, 0, &err, "DEL koubo:jobs"));
    assert_ok(err, redis_ask(head, NULL, 0, &err, "INFO server"));
    assert_ok(err, wire_leave_head(head, "me", &err));
}

// What a machine must not: hear what others are told or tell, give orders, be the head.
static void check_forbidden(struct redis *node)
{
    static const char *const forbidden[] = {
        "XREAD STREAMS koubo:told 0",
        "XADD koubo:to:n1 * a b",
        "XDEL koubo:to:n1 0-1",
        "SET koubo:pulse x",
        "SET koubo:head x",
        "DEL koubo:jobs",
        "XTRIM koubo:told MAXLEN 0",
        "FLUSHALL",
        "CONFIG GET *",
        "KEYS *",
        "ACL LIST",
        "EVAL x 0",
        "XADD koubo:pulse * a b",
        "XADD koubo:jobs * a b",
    };
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        assert_fails(err, KB_BAD_INPUT, "NOPERM", redis_ask(node, NULL, 0, &err, forbidden[i]));
}

static struct redis *open_as(const struct redis_server *s, const char *user)
{
    CLEANUP(kb_freep) char *url = kb_printf("redis://%s@127.0.0.1:%d", user, s->port);
    struct redis *r = NULL;
    assert_ok(err, redis_open(&r, &(struct redis_params){.url = url, .timeout_ms = 60000}, &err));
    return r;
}

static void test_rights(void **state)
{
    if (!redis_server_is_here())
        SKIP_TEST("no redis-server here");
    struct redis_server server;
    const char *const shared[] = {"--aclfile", source_path("tools/cluster/users.acl"), NULL};
    redis_server_start(&server, shared);
    CLEANUP(redis_close) struct redis *head = open_as(&server, "head:CHANGE-ME-1");
    CLEANUP(redis_close) struct redis *node = open_as(&server, "machines:CHANGE-ME-2");
    check_rights(&server, "machines");
    do_all(head, node);
    check_forbidden(node);
    redis_server_stop(&server);

    // One for each machine, as docs/cluster.md says to make them of that.
    CLEANUP(kb_freep) char *path = kb_printf("%s/own.acl", folder);
    CLEANUP(kb_freep)
    char *command = kb_printf("sed 's/user machines/user n1/; s/koubo:to:\\*/koubo:to:n1/' %s >%s",
                              shared[1], path);
    assert_int_equal(system(command), 0);
    const char *const own[] = {"--aclfile", path, NULL};
    redis_server_start(&server, own);
    redis_close(&head);
    redis_close(&node);
    head = open_as(&server, "head:CHANGE-ME-1");
    node = open_as(&server, "n1:CHANGE-ME-2");
    check_rights(&server, "n1");
    do_all(head, node);
    check_forbidden(node);
    assert_fails(err, KB_BAD_INPUT, "NOPERM",
                 redis_ask(node, NULL, 0, &err, "XREAD STREAMS koubo:to:n2 0"));
    redis_server_stop(&server);
}

// The address in that file of the folder, at this machine and the port.
static void read_address(char line[1000], const char *name, int port)
{
    CLEANUP(kb_freep)
    char *command = kb_printf("sed -n 's/^ *//; s/@[a-z0-9.]*/@localhost:%d/; /^rediss*:/p' %s/%s",
                              port, folder, name);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, 1000, f));
    while (fgetc(f) != EOF) {
    }
    pclose(f);
    line[strcspn(line, "\n")] = '\0';
}

// What tools/cluster/setup_redis.sh writes is what Redis and koubo take.
static void test_setup(void **state)
{
    if (!redis_server_is_here() || system("openssl version >/dev/null 2>&1") != 0)
        SKIP_TEST("no redis-server or openssl here");
    CLEANUP(kb_freep)
    char *command = kb_printf(
        "touch %s/redis.conf && cd %s && for i in 1 2; do %s --lang=en --folder . --tls localhost "
        ">said && cp koubo-ca.pem ca.$i && cp koubo-key.pem key.$i || exit 1; done; "
        "cmp ca.1 ca.2 && cmp key.1 key.2 && grep -c ^include redis.conf | grep -qx 1 && "
        "ls -l head.cluster | grep -q '^-rw-------' && ! grep -q CHANGE koubo.acl",
        folder, folder, source_path("tools/cluster/setup_redis.sh"));
    assert_int_equal(system(command), 0);
    CLEANUP(kb_freep) char *conf = kb_printf("%s/koubo.conf", folder);
    const char *const extra[] = {"--include", conf, NULL};
    struct redis_server server;
    redis_server_start(&server, extra);
    for (int is_head = 0; is_head < 2; is_head++) {
        char line[1000];
        read_address(line, is_head ? "head.cluster" : "said", server.tls_port);
        CLEANUP(doctor_clear) struct doctor d = {.is_head = is_head};
        look(&d, line);
        check(&d, "redis", FINDING_OK, "rediss://");
        check(&d, "rights", FINDING_OK, is_head ? "what the head does" : "and no more");
        assert_null(find(&d, "password", ""));
    }
    redis_server_stop(&server);
}

// It does not take a Redis from others who use it: what stands in redis.conf, "port" that of the
// server; said: a part of why it stops, NULL: it goes on.
static void try_set_up(const struct redis_server *server, const char *line, const char *more,
                       const char *said)
{
    CLEANUP(kb_freep)
    char *command = kb_printf(
        "cd %s && rm -f koubo* && printf 'port %d\\n%s\\n' >redis.conf && "
        "%s --lang=en --folder . %s >said 2>&1; rc=$?; "
        "if [ -z '%s' ]; then test $rc = 0 -a -e koubo.conf; else test $rc = 5 && grep -q '%s' "
        "said "
        "&& test ! -e koubo.acl && ! grep -q include redis.conf; fi || { cat said >&2; exit 1; }",
        folder, server->port, line, source_path("tools/cluster/setup_redis.sh"), more,
        said ? said : "", said ? said : "");
    assert_int_equal(system(command), 0);
}

static void test_setup_of_a_redis_in_use(void **state)
{
    if (!redis_server_is_here() || system("redis-cli --version >/dev/null 2>&1") != 0)
        SKIP_TEST("no redis-server or redis-cli here");
    struct redis_server server;
    redis_server_start(&server, NULL);
    try_set_up(&server, "", "", NULL);
    try_set_up(&server, "requirepass x", "", "it has a password or users");
    try_set_up(&server, "requirepass x", "--force", NULL);
    try_set_up(&server, "user shop on >x ~* +@all", "--force", "defines users");

    ask(&server, "SET shop:1 x");
    try_set_up(&server, "", "", "it holds data");
    try_set_up(&server, "", "--force", NULL);
    ask(&server, "FLUSHALL");
    ask(&server, "ACL SETUSER shop on >x ~* +@all");
    try_set_up(&server, "", "", "it has a password or users");
    ask(&server, "ACL DELUSER shop");
    CLEANUP(kb_freep) char *url = redis_server_url(&server, "");
    CLEANUP(redis_close) struct redis *shop = NULL;
    assert_ok(err,
              redis_open(&shop, &(struct redis_params){.url = url, .timeout_ms = 60000}, &err));
    assert_ok(err, redis_ask(shop, NULL, 0, &err, "PING"));
    try_set_up(&server, "", "", "programs are connected");
    redis_close(&shop);
    redis_server_stop(&server);
    try_set_up(&server, "", "", NULL); // nobody is there
}

// The same of tools/cluster/make_secrets.sh, in a copy: all files of compose.yaml are there, the
// token is printed each time.
static void test_secrets(void **state)
{
    if (!redis_server_is_here())
        SKIP_TEST("no redis-server here");
    CLEANUP(kb_freep)
    char *command = kb_printf(
        "cd %s && cp %s/make_secrets.sh %s/users.acl %s/compose.yaml . && "
        "./make_secrets.sh >first && cksum secrets/* >sums && ./make_secrets.sh >second && "
        "grep -qxE '[0-9a-f]{48}' first && cmp first second && cksum secrets/* | cmp - sums && "
        "ls -ld secrets | grep -q ^drwx------ && ! grep -q CHANGE secrets/users.acl && "
        "for f in $(sed -n 's,^ *file: ,,p' compose.yaml) ./secrets/token; do "
        "test -f $f || exit 1; done",
        folder, source_path("tools/cluster"), source_path("tools/cluster"),
        source_path("tools/cluster"));
    assert_int_equal(system(command), 0);
    CLEANUP(kb_freep) char *acl = kb_printf("%s/secrets/users.acl", folder);
    const char *const extra[] = {"--aclfile", acl, NULL};
    struct redis_server server;
    redis_server_start(&server, extra);
    for (int is_head = 0; is_head < 2; is_head++) {
        char line[1000];
        read_address(line, is_head ? "secrets/head.cluster" : "secrets/machines.cluster",
                     server.port);
        CLEANUP(doctor_clear) struct doctor d = {.is_head = is_head};
        look(&d, line);
        check(&d, "redis", FINDING_OK, "");
        check(&d, "rights", FINDING_OK, is_head ? "what the head does" : "and no more");
    }
    redis_server_stop(&server);
}

static void hear(struct store *s, const char *name, int slots, int64_t clock, const char *error)
{
    CLEANUP(kb_freep)
    char *facts = kb_printf("{\"version\":\"1\",\"clock\":%lld}", (long long)clock);
    assert_ok(err, node_heard(s, name, slots, facts, error, &err));
}

static void test_machines(void **state)
{
    CLEANUP(store_close) struct store *s = NULL;
    assert_ok(err, store_open(&s, folder, true, &err));
    CLEANUP(doctor_clear) struct doctor d = {0};
    look(&d, "redis://127.0.0.1:1");
    check(&d, "nodes", FINDING_WARNING, "none has been added");
    doctor_clear(&d);

    char secret[65];
    static const char *const names[] = {"good", "new", "refused", "full", "past", "future"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_ok(err, node_add(s, names[i], "", secret, &err));
    look(&d, NULL);
    check(&d, "nodes", FINDING_WARNING, "known: 6; heard: 0,");
    doctor_clear(&d);

    int64_t now = kb_wall_ms();
    hear(s, "good", 3, now, NULL);
    hear(s, "refused", 2, now, "its version is another");
    hear(s, "full", 0, now, NULL);
    hear(s, "past", 1, now - 3600000, NULL);
    hear(s, "future", 1, now + 3600000, NULL);
    look(&d, NULL);
    check(&d, "nodes", FINDING_OK, "known: 6; heard: 5, with room for 5 jobs");
    check(&d, "node", FINDING_WARNING, "new has never been heard");
    check(&d, "node", FINDING_WARNING, "refused gets no jobs: its version is another");
    check(&d, "node", FINDING_WARNING, "full is heard, but takes no job");
    check(&d, "node", FINDING_WARNING, "clock of past differs by 3");
    check(&d, "node", FINDING_WARNING, "clock of future differs by 3");
    assert_null(find(&d, "node", "good"));
    assert_null(find(&d, "node", "clock of new"));
    assert_int_equal(d.n_findings, 6);
    doctor_clear(&d);

    assert_ok(err, store_exec(s, NULL, &err, "UPDATE node SET heard_ms = heard_ms - 3600000", ""));
    look(&d, NULL);
    check(&d, "node", FINDING_WARNING, "good was last heard 36");
    // Of very many not every one is told of.
    for (int i = 0; i < 40; i++) {
        CLEANUP(kb_freep) char *name = kb_printf("many-%d", i);
        assert_ok(err, node_add(s, name, "", secret, &err));
    }
    doctor_clear(&d);
    look(&d, NULL);
    assert_int_equal(d.n_findings, 21);
}

// Those of the head do more than those of a machine; both are told what they are good for.
static void test_keys_of_a_store(void **state)
{
    static const struct {
        const char *key, *secret, *text;
        enum finding_level level;
    } table[] = {{S3_KEY, S3_SECRET, "read and removed", FINDING_OK},
                 {S3_NODE_KEY, S3_NODE_SECRET, "with the keys of a machine", FINDING_OK},
                 {S3_NODE_KEY, "wrong", "SignatureDoesNotMatch", FINDING_PROBLEM}};
    struct s3_store s3;
    s3_store_start(&s3);
    if (!s3_store_is_here(&s3)) {
        s3_store_stop(&s3);
        SKIP_TEST("no node, or no s3rver in tests/cluster (npm ci)");
    }
    CLEANUP(kb_freep) char *address = kb_printf("s3://films/x?endpoint=%s", s3.endpoint);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        CLEANUP(doctor_clear) struct doctor d = {.depot = address};
        setenv("AWS_ACCESS_KEY_ID", table[i].key, 1);
        setenv("AWS_SECRET_ACCESS_KEY", table[i].secret, 1);
        look(&d, "redis://127.0.0.1:1");
        check(&d, "depot", table[i].level, table[i].text);
    }
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    s3_store_stop(&s3);
}

static void test_depot(void **state)
{
    CLEANUP(doctor_clear) struct doctor d = {.depot = "http://127.0.0.1:1"};
    look(&d, NULL);
    check(&d, "depot", FINDING_PROBLEM, "does not answer at http://127.0.0.1:1");
    doctor_clear(&d);
    d.depot = "s3://bucket/x?endpoint=http://127.0.0.1:1&nonsense=1";
    look(&d, NULL);
    check(&d, "depot", FINDING_PROBLEM, "");
    assert_null(find(&d, "nodes", ""));
}

#define doctor_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        doctor_test(test_says_nothing_of_one_machine),
        doctor_test(test_redis),
        doctor_test(test_rights),
        doctor_test(test_setup),
        doctor_test(test_setup_of_a_redis_in_use),
        doctor_test(test_secrets),
        doctor_test(test_machines),
        doctor_test(test_keys_of_a_store),
        doctor_test(test_depot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
