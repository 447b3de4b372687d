#include "queue/worker.h"

#include "store/sql.h"

#include <stdlib.h>

enum kb_code worker_put(struct store *s, const struct worker_row *w, struct kb_error *err)
{
    bool durable = s->durable;
    store_set_durable(s, false); // it is told again a second later
    enum kb_code code = store_exec(
        s, NULL, err,
        "INSERT INTO worker(id, kind, pid, state, model, precision, rss, started_ms, heartbeat_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT(id) DO UPDATE SET"
        " kind = ?2, state = ?4, model = ?5, precision = ?6, rss = ?7, heartbeat_ms = ?8,"
        " started_ms = iif(pid = ?3, started_ms, ?8), restarts = restarts + (pid <> ?3), pid = ?3",
        "ttitttii", w->id, w->kind, (int64_t)w->pid, w->state, w->model, w->precision, w->rss_bytes,
        kb_wall_ms());
    store_set_durable(s, durable);
    return code;
}

enum kb_code worker_remove(struct store *s, const char *id, struct kb_error *err)
{
    return store_exec(s, NULL, err, "DELETE FROM worker WHERE ?1 = '' OR id = ?1", "t", id);
}

// All of them, "w2" before "w10". A machine's job is none of theirs, whatever it is called.
#define WORKERS                                                                                    \
    " (SELECT w.*, (SELECT id FROM job j WHERE j.worker = w.id"                                    \
    "   AND j.state IN " JOB_STATES_RUNNING " AND j.id NOT IN (SELECT job FROM remote) LIMIT 1)"   \
    "  AS job"                                                                                     \
    "  FROM worker w ORDER BY w.kind, length(w.id), w.id) "

enum kb_code worker_list(struct store *s, struct worker_status **ret, int *ret_n,
                         struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) struct worker_status *list = NULL;
    int n = 0, capacity = 0;
    enum kb_code code =
        store_query(s, &q, err, "SELECT id, kind, state, heartbeat_ms FROM" WORKERS, "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        if (!kb_grow(&list, n, &capacity, sizeof(*list)))
            return kb_no_memory(err);
        struct worker_status *w = &list[n++];
        store_copy_column(w->id, sizeof(w->id), q, 0);
        store_copy_column(w->kind, sizeof(w->kind), q, 1);
        store_copy_column(w->state, sizeof(w->state), q, 2);
        w->heartbeat_ms = sqlite3_column_int64(q, 3);
    }
    if (code != KB_EOF)
        return code;
    *ret = TAKE(list);
    *ret_n = n;
    return KB_OK;
}

enum kb_code worker_list_json(struct store *s, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT json_group_array(json_object('id', id, 'kind', kind, 'state', state, 'pid', pid,"
        " 'job', job, 'heartbeat', heartbeat_ms, 'started', started_ms, 'restarts', restarts,"
        " 'model', model, 'precision', precision, 'rss', rss)) FROM" WORKERS,
        "");
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code;
}
