// Batches and their jobs.
#include "server/internal.h"

#include "queue/batch.h"
#include "queue/job.h"
#include "server/api/batch_body.h"
#include "server/api/estimate.h"
#include "server/api/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_LETTERS 200

static void answer_batch(struct request *r, int status, int64_t id)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text json = {0};
    if (batch_json(request_store(r), id, &json, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, status, text_get(&json));
}

static void answer_job(struct request *r, int64_t id)
{
    struct kb_error err = {0};
    CLEANUP(text_free) struct text json = {0};
    if (job_json(request_store(r), id, &json, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 200, text_get(&json));
}

// --- making one

static void batches_create(struct request *r)
{
    CLEANUP(batch_body_free) struct batch_body body = {0};
    CLEANUP(text_free) struct text told = {0};
    int64_t id;
    if (!batch_body_read(r, true, &body) || (body.notify && !take_notify(r, body.notify, &told)))
        return;
    struct batch_params *p = &body.params;
    p->client = request_client(r);
    p->lang = request_lang(r);
    p->notify = body.notify ? text_get(&told) : NULL;
    p->defaults = request_server(r)->params.defaults;

    struct kb_error err = {0};
    if (batch_create(request_store(r), p, &id, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    CLEANUP(kb_freep) char *location = kb_printf("/api/v1/batches/%lld", (long long)id);
    reply_header(r, "Location", location);
    answer_batch(r, 201, id);
}

// --- looking

static void batches_list(struct request *r)
{
    static const char *const states[] = {"active", "paused", "ended", NULL};
    struct batch_filter f = {.search = query_text(r, "search")};
    if (!query_page(r, &f.offset, &f.limit) || !query_word(r, "state", states, &f.state))
        return;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text json = {0};
    if (batch_list_json(request_store(r), &f, &json, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 200, text_get(&json));
}

static void batches_show(struct request *r)
{
    int64_t id;
    if (request_part_id(r, 0, &id))
        answer_batch(r, 200, id);
}

static void list_jobs(struct request *r)
{
    static const char *const states[] = {
        "queued", "loading",   "audio",   "preprocessing", "generating", "finishing", "done",
        "failed", "cancelled", "skipped", "unfinished",    "running",    NULL};
    struct job_filter f = {.search = query_text(r, "search")};
    if (!query_page(r, &f.offset, &f.limit) || !query_word(r, "state", states, &f.state) ||
        !request_query_int(r, "batch", 1, INT64_MAX, 0, &f.batch))
        return;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text json = {0};
    if (job_list_json(request_store(r), &f, &json, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 200, text_get(&json));
}

static void show_job(struct request *r)
{
    int64_t id;
    if (request_part_id(r, 0, &id))
        answer_job(r, id);
}

// --- changing

// What is wrong with the present state of a batch or job, and not with the request, is a conflict.
static void finish_batch(struct request *r, int64_t id, enum kb_code code,
                         const struct kb_error *err)
{
    if (code != KB_OK)
        reply_conflict(r, err);
    else
        answer_batch(r, 200, id);
}

static void finish_job(struct request *r, int64_t id, enum kb_code code, const struct kb_error *err)
{
    if (code != KB_OK)
        reply_conflict(r, err);
    else
        answer_job(r, id);
}

static void batches_change(struct request *r)
{
    static const char *const names[] = {"name", "priority", NULL};
    struct kb_error err = {0};
    const char *name;
    int64_t id, priority;
    bool has_priority;
    json_t *body;
    if (!request_part_id(r, 0, &id) || !(body = request_json(r)) || !fields_known(r, body, names) ||
        !field_text(r, body, "name", false, NAME_LETTERS, &name) ||
        !field_int(r, body, "priority", 0, 9, &priority, &has_priority))
        return;
    enum kb_code code = KB_OK;
    if (name)
        code = batch_rename(request_store(r), id, name, &err);
    if (code == KB_OK && has_priority)
        code = batch_set_priority(request_store(r), id, (int)priority, &err);
    if (code != KB_OK)
        reply_error(r, &err);
    else
        answer_batch(r, 200, id);
}

static void batches_cancel(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (request_part_id(r, 0, &id))
        finish_batch(r, id, batch_cancel(request_store(r), id, &err), &err);
}

static void batches_pause(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (request_part_id(r, 0, &id))
        finish_batch(r, id, batch_pause(request_store(r), id, true, &err), &err);
}

static void batches_resume(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (request_part_id(r, 0, &id))
        finish_batch(r, id, batch_pause(request_store(r), id, false, &err), &err);
}

static void batches_retry(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (request_part_id(r, 0, &id))
        finish_batch(r, id, batch_retry(request_store(r), id, &err), &err);
}

// The field "before" of a move: another id, 0 = last, -1 = first.
static bool take_before(struct request *r, int64_t *ret)
{
    static const char *const names[] = {"before", NULL};
    json_t *body = request_json(r);
    return body && fields_known(r, body, names) &&
           field_int(r, body, "before", -1, INT64_MAX, ret, NULL);
}

static void batches_move(struct request *r)
{
    struct kb_error err = {0};
    int64_t id, before;
    if (request_part_id(r, 0, &id) && take_before(r, &before))
        finish_batch(r, id, batch_move(request_store(r), id, before, &err), &err);
}

static void batches_delete(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (!request_part_id(r, 0, &id))
        return;
    if (batch_delete(request_store(r), id, &err) != KB_OK)
        reply_conflict(r, &err);
    else
        reply_empty(r, 204);
}

static void cancel_job(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (request_part_id(r, 0, &id))
        finish_job(r, id, job_cancel(request_store(r), id, &err), &err);
}

static void retry_job(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (request_part_id(r, 0, &id))
        finish_job(r, id, job_retry(request_store(r), id, &err), &err);
}

static void move_job(struct request *r)
{
    struct kb_error err = {0};
    int64_t id, before;
    if (request_part_id(r, 0, &id) && take_before(r, &before))
        finish_job(r, id, job_move(request_store(r), id, before, &err), &err);
}

static void delete_job(struct request *r)
{
    struct kb_error err = {0};
    int64_t id;
    if (!request_part_id(r, 0, &id))
        return;
    if (job_delete(request_store(r), id, &err) != KB_OK)
        reply_conflict(r, &err);
    else
        reply_empty(r, 204);
}

const struct route api_batches_routes[] = {
    {"POST", "/api/v1/batches", batches_create, 0, NULL},
    {"POST", "/api/v1/estimate", estimate_batch, 0, NULL},
    {"GET", "/api/v1/batches", batches_list, 0, NULL},
    {"GET", "/api/v1/batches/{id}", batches_show, 0, NULL},
    {"PATCH", "/api/v1/batches/{id}", batches_change, 0, NULL},
    {"DELETE", "/api/v1/batches/{id}", batches_delete, 0, NULL},
    {"POST", "/api/v1/batches/{id}/cancel", batches_cancel, 0, NULL},
    {"POST", "/api/v1/batches/{id}/pause", batches_pause, 0, NULL},
    {"POST", "/api/v1/batches/{id}/resume", batches_resume, 0, NULL},
    {"POST", "/api/v1/batches/{id}/retry", batches_retry, 0, NULL},
    {"POST", "/api/v1/batches/{id}/move", batches_move, 0, NULL},
    {"GET", "/api/v1/jobs", list_jobs, 0, NULL},
    {"GET", "/api/v1/jobs/{id}", show_job, 0, NULL},
    {"DELETE", "/api/v1/jobs/{id}", delete_job, 0, NULL},
    {"POST", "/api/v1/jobs/{id}/cancel", cancel_job, 0, NULL},
    {"POST", "/api/v1/jobs/{id}/retry", retry_job, 0, NULL},
    {"POST", "/api/v1/jobs/{id}/move", move_job, 0, NULL},
    {0},
};
