#include "queue/node.h"

#include "queue/batch.h"
#include "queue/internal.h"

#include <stdlib.h>
#include <string.h>

static enum kb_code no_node(const char *name, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("there is no machine '%s' (any more)"), name);
}

// As node_name_is_valid() of cluster/wire.h, which lies above this room.
static bool is_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < sizeof(((struct node *)0)->name) && *name != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

// "w1" and "i1" are workers of this machine; a list of jobs would not tell which is meant.
static bool is_worker(const char *name)
{
    return strchr("wi", *name) && name[1] && !name[1 + strspn(name + 1, "0123456789")];
}

// How people call it: its name, if they do not say. A new string.
static char *title_of(const char *title, const char *name)
{
    CLEANUP(kb_freep) char *clean = batch_clean_name(title ? title : "");
    return clean[strspn(clean, " ")] ? TAKE(clean) : kb_strdup(name);
}

enum kb_code node_add(struct store *s, const char *name, const char *title, char ret_secret[65],
                      struct kb_error *err)
{
    char secret[65];
    int changes = 0;
    if (!is_name(name))
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the name of a machine has 1 to 32 small letters, digits and '-', and does "
              "not begin with '-'"));
    if (is_worker(name))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' is what a worker of this machine is called; choose another name"),
                       name);
    kb_random_hex(secret, 64);
    CLEANUP(kb_freep) char *shown = title_of(title, name);
    enum kb_code code = store_exec(s, &changes, err,
                                   "INSERT OR IGNORE INTO node(name, title, secret, created_ms)"
                                   " VALUES (?, ?, ?, ?)",
                                   "ttti", name, shown, secret, kb_wall_ms());
    if (code == KB_OK && changes == 0)
        return kb_fail(err, KB_BAD_INPUT, _("there is a machine '%s' already; choose another name"),
                       name);
    if (code == KB_OK)
        memcpy(ret_secret, secret, sizeof(secret));
    return code;
}

#define NODE "SELECT name, secret, draining, slots, heard_ms FROM node "

static struct node read_row(sqlite3_stmt *q)
{
    struct node n = {.draining = sqlite3_column_int(q, 2),
                     .slots = sqlite3_column_int(q, 3),
                     .heard_ms = sqlite3_column_int64(q, 4)};
    store_copy_column(n.name, sizeof(n.name), q, 0);
    store_copy_column(n.secret, sizeof(n.secret), q, 1);
    return n;
}

enum kb_code node_get(struct store *s, const char *name, struct node *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err, NODE "WHERE name = ?", "t", name);
    if (code == KB_OK)
        *ret = read_row(q);
    return code == KB_EOF ? no_node(name, err) : code;
}

enum kb_code node_list(struct store *s, struct node **ret, int *ret_n, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) struct node *list = NULL;
    int n = 0, capacity = 0;
    enum kb_code code = store_query(s, &q, err, NODE "ORDER BY name", "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (!kb_grow(&list, n, &capacity, sizeof(*list)))
            return kb_no_memory(err);
        list[n++] = read_row(q);
    }
    if (code != KB_EOF)
        return code;
    *ret = TAKE(list);
    *ret_n = n;
    return KB_OK;
}

// A change of one row, that must be there.
static enum kb_code changed(enum kb_code code, int changes, const char *name, struct kb_error *err)
{
    return code == KB_OK && changes == 0 ? no_node(name, err) : code;
}

enum kb_code node_rename(struct store *s, const char *name, const char *title, struct kb_error *err)
{
    int n = 0;
    CLEANUP(kb_freep) char *shown = title_of(title, name);
    enum kb_code code =
        store_exec(s, &n, err, "UPDATE node SET title = ? WHERE name = ?", "tt", shown, name);
    return changed(code, n, name, err);
}

enum kb_code node_drain(struct store *s, const char *name, bool draining, struct kb_error *err)
{
    int n = 0;
    enum kb_code code = store_exec(s, &n, err, "UPDATE node SET draining = ? WHERE name = ?", "it",
                                   (int64_t)draining, name);
    return changed(code, n, name, err);
}

enum kb_code node_renew(struct store *s, const char *name, char ret_secret[65],
                        struct kb_error *err)
{
    char secret[65];
    int n = 0;
    kb_random_hex(secret, 64);
    enum kb_code code =
        store_exec(s, &n, err, "UPDATE node SET secret = ? WHERE name = ?", "tt", secret, name);
    code = changed(code, n, name, err);
    if (code == KB_OK)
        memcpy(ret_secret, secret, sizeof(secret));
    return code;
}

static enum kb_code take_out(struct store *s, const char *name, struct kb_error *err)
{
    int n = 0;
    enum kb_code code = store_exec(s, &n, err, "DELETE FROM node WHERE name = ?", "t", name);
    code = changed(code, n, name, err);
    return code == KB_OK ? remote_take_back(s, name, err) : code;
}

enum kb_code node_remove(struct store *s, const char *name, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, take_out(s, name, err), err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}

enum kb_code node_heard(struct store *s, const char *name, int slots, const char *facts_json,
                        const char *error, struct kb_error *err)
{
    int n = 0;
    bool durable = s->durable;
    store_set_durable(s, false); // it is told again a second later
    enum kb_code code = store_exec(
        s, &n, err, "UPDATE node SET slots = ?, facts = ?, error = ?, heard_ms = ? WHERE name = ?",
        "ittit", (int64_t)slots, facts_json, error, kb_wall_ms(), name);
    store_set_durable(s, durable);
    return changed(code, n, name, err);
}

enum kb_code node_list_json(struct store *s, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT json_group_array(json_object('name', name, 'title', title, 'state', CASE"
        "  WHEN heard_ms = 0 THEN 'new' WHEN NOT (" NODE_IS_HEARD ") THEN 'silent'"
        "  WHEN error IS NOT NULL THEN 'refused'"
        "  WHEN draining OR json_extract(facts, '$.draining') THEN 'draining' ELSE 'active' END,"
        " 'draining', json(iif(draining, 'true', 'false')), 'slots', slots,"
        " 'jobs', json((SELECT json_group_array(job) FROM remote r WHERE r.node = n.name)),"
        " 'heard', nullif(heard_ms, 0), 'created', created_ms, 'error', say(error),"
        " 'facts', json(facts))) FROM (SELECT * FROM node ORDER BY name) n",
        "");
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code;
}
