// Results: what done jobs left, one by one and as a zip.
#include "base/log.h"
#include "queue/result.h"
#include "server/api/fields.h"
#include "server/api/zip.h"
#include "server/errand.h"
#include "server/quota.h"
#include "server/internal.h"
#include "store/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CHOSEN      10000 // results named in one request
#define NAME_LETTERS    200
#define DELETE_AGAIN_MS 200 // while something else holds the database

// Which results, and in which order: the same for the list, for all their numbers and for a zip.
// False: answered.
static bool read_filter(struct request *r, struct result_filter *ret)
{
    static const char *const keys[] = {"created", "name", "size", "duration", NULL};
    static const char *const orders[] = {"desc", "asc", NULL};
    const char *order = NULL;
    *ret = (struct result_filter){.search = query_text(r, "search")};
    if (!request_query_int(r, "batch", 0, INT64_MAX, 0, &ret->batch) ||
        !request_query_int(r, "since", 0, INT64_MAX, 0, &ret->since_ms) ||
        !request_query_int(r, "until", 0, INT64_MAX, 0, &ret->until_ms) ||
        !query_word(r, "sort", keys, &ret->sort) || !query_word(r, "order", orders, &order))
        return false;
    ret->ascending = order && strcmp(order, "asc") == 0;
    return true;
}

static void list_results(struct request *r)
{
    struct result_filter f;
    if (!read_filter(r, &f) || !query_page(r, &f.offset, &f.limit))
        return;
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    if (result_list_json(request_store(r), &f, &answer, &err) == KB_OK)
        reply_json(r, 200, text_get(&answer));
    else
        reply_error(r, &err);
}

static void get_result(struct request *r)
{
    int64_t job;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text text = {0};
    if (!request_part_id(r, 0, &job))
        return;
    if (result_json(request_store(r), job, &text, &err) == KB_OK)
        reply_json(r, 200, text_get(&text));
    else
        reply_error(r, &err);
}

// False: answered.
static bool find_result(struct request *r, struct result *ret)
{
    int64_t job;
    struct kb_error err = {0};
    if (!request_part_id(r, 0, &job))
        return false;
    if (result_find(request_store(r), job, ret, &err) == KB_OK)
        return true;
    reply_error(r, &err);
    return false;
}

static const char *type_of(const struct result *result)
{
    const char *ending = film_ending(result->file);
    return strcmp(ending, ".webm") == 0  ? "video/webm"
           : strcmp(ending, ".mov") == 0 ? "video/quicktime"
                                         : "video/mp4";
}

// A job is done once, so what it left never changes; but it can be deleted, and then a page that
// asks again must learn that. Only thumbnails are kept by browsers without asking.
static void get_video(struct request *r)
{
    CLEANUP(result_free) struct result result = {0};
    if (!find_result(r, &result))
        return;
    struct reply_file_params p = {
        .folder = request_server(r)->params.data, .path = result.file, .type = type_of(&result)};
    reply_file(r, &p);
}

static void get_download(struct request *r)
{
    CLEANUP(result_free) struct result result = {0};
    if (!find_result(r, &result))
        return;
    struct reply_file_params p = {
        .folder = request_server(r)->params.data,
        .path = result.file,
        .type = type_of(&result),
        .download = result.name,
    };
    reply_file(r, &p);
}

static void get_thumbnail(struct request *r)
{
    CLEANUP(result_free) struct result result = {0};
    if (!find_result(r, &result))
        return;
    if (!result.thumb) {
        reply_problem(r, 404, "not_found", _("this result has no picture"));
        return;
    }
    struct reply_file_params p = {.folder = request_server(r)->params.data,
                                  .path = result.picture,
                                  .type = "image/jpeg",
                                  .immutable = true};
    reply_file(r, &p);
}

static void rename_result(struct request *r)
{
    static const char *const names[] = {"name", NULL};
    int64_t job;
    const char *name;
    json_t *body;
    struct kb_error err = {0};
    CLEANUP(text_free) struct text text = {0};
    if (!request_part_id(r, 0, &job) || !(body = request_json(r)) ||
        !fields_known(r, body, names) || !field_text(r, body, "name", true, NAME_LETTERS, &name))
        return;
    if (result_rename(request_store(r), job, name, &err) == KB_OK &&
        result_json(request_store(r), job, &text, &err) == KB_OK)
        reply_json(r, 200, text_get(&text));
    else
        reply_error(r, &err);
}

static void delete_result(struct request *r)
{
    int64_t job;
    struct kb_error err = {0};
    if (!request_part_id(r, 0, &job))
        return;
    if (result_delete(request_store(r), job, &err) == KB_OK)
        reply_empty(r, 204);
    else
        reply_conflict(r, &err);
}

// --- many

// The numbers of {"jobs":[…]}. free(*ret). False: answered.
static bool read_jobs(struct request *r, json_t *body, int64_t **ret, int *ret_n)
{
    static const char *const names[] = {"jobs", NULL};
    json_t *jobs = json_object_get(body, "jobs");
    if (!fields_known(r, body, names))
        return false;
    size_t n = json_array_size(jobs);
    if (!json_is_array(jobs) || n < 1 || n > MAX_CHOSEN) {
        CLEANUP(kb_freep)
        char *sentence = kb_printf(_("jobs must be a list of 1 to %d numbers"), MAX_CHOSEN);
        reply_problem(r, 400, "bad_input", sentence);
        return false;
    }
    CLEANUP(kb_freep) int64_t *ids = kb_alloc(n * sizeof(*ids));
    for (size_t i = 0; i < n; i++) {
        json_t *id = json_array_get(jobs, i);
        if (!json_is_integer(id) || json_integer_value(id) < 1) {
            reply_problem(r, 400, "bad_input",
                          _("jobs must hold numbers of jobs and nothing else"));
            return false;
        }
        ids[i] = json_integer_value(id);
    }
    *ret = TAKE(ids);
    *ret_n = (int)n;
    return true;
}

struct deletion {
    char *data;
    int64_t *jobs;
    int n, n_done, n_deleted;
};

static void deletion_free(void *ctx)
{
    struct deletion *d = ctx;
    free(d->data);
    free(d->jobs);
    free(d);
}

static enum kb_code delete_next(struct deletion *d, struct store *s, struct kb_error *err)
{
    enum kb_code code = result_delete(s, d->jobs[d->n_done], err);
    if (code != KB_OK && code != KB_NOT_FOUND) // deleted already is as good
        return code;
    d->n_deleted += code == KB_OK;
    d->n_done++;
    return KB_OK;
}

static void delete_work(void *ctx, const struct cancel *cancel, struct text *ret)
{
    struct deletion *d = ctx;
    struct kb_error err = {0};
    CLEANUP(store_close) struct store *store = NULL;
    enum kb_code code = KB_OK;
    while (d->n_done < d->n && (code == KB_OK || code == KB_UNAVAILABLE)) {
        if (code != KB_OK)
            nanosleep(&(struct timespec){.tv_nsec = DELETE_AGAIN_MS * 1000000L}, NULL);
        code = cancel_check(cancel, &err);
        if (code == KB_OK && !store)
            code = store_open(&store, d->data, false, &err);
        if (code == KB_OK)
            code = delete_next(d, store, &err);
    }
    if (code == KB_OK)
        text_addf(ret, "{\"deleted\":%d}", d->n_deleted);
    else
        log_warn(_("%d of %d results were deleted: %s"), d->n_deleted, d->n, err.text);
}

// The first one tells whether it can be done at all, and answers if not. The others may take
// minutes, so they are an errand.
static void delete_results(struct request *r)
{
    struct kb_error err = {0};
    struct deletion *d = kb_alloc(sizeof(*d));
    json_t *body = request_json(r);
    if (!body || !read_jobs(r, body, &d->jobs, &d->n)) {
        deletion_free(d);
    } else if (delete_next(d, request_store(r), &err) != KB_OK) {
        reply_conflict(r, &err);
        deletion_free(d);
    } else if (d->n == 1) {
        reply_json(r, 200, d->n_deleted ? "{\"deleted\":1}" : "{\"deleted\":0}");
        deletion_free(d);
    } else {
        d->data = kb_strdup(request_server(r)->params.data);
        reply_errand(r, request_server(r)->errands, delete_work, deletion_free, d);
    }
}

// All that a filter chooses, for who selects across pages.
static void list_ids(struct request *r)
{
    struct result_filter f;
    struct kb_error err = {0};
    CLEANUP(kb_freep) int64_t *jobs = NULL;
    CLEANUP(text_free) struct text answer = {0};
    int n;
    if (!read_filter(r, &f))
        return;
    f.limit = MAX_CHOSEN;
    if (result_ids(request_store(r), &f, &jobs, &n, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    text_add(&answer, "{\"jobs\":[");
    for (int i = 0; i < n; i++)
        text_addf(&answer, "%s%lld", i ? "," : "", (long long)jobs[i]);
    text_add(&answer, "]}");
    reply_json(r, 200, text_get(&answer));
}

// --- zip

// Calls each for every result of these jobs that is there still, and gone (NULL: nobody) with a
// sentence for the others. Looked up each time, because there may be many.
static enum kb_code pack_each(struct store *s, const int64_t *jobs, int n,
                              void (*each)(void *opaque, const struct result *result),
                              void (*gone)(void *opaque, const char *sentence), void *opaque,
                              struct kb_error *err)
{
    for (int i = 0; i < n; i++) {
        CLEANUP(result_free) struct result result = {0};
        enum kb_code code = result_find(s, jobs[i], &result, err);
        if (code == KB_OK)
            each(opaque, &result);
        else if (code != KB_NOT_FOUND)
            return code;
        else if (gone)
            gone(opaque, err->text);
    }
    return KB_OK;
}

struct batches_seen {
    int64_t batch; // the first, 0 = none
    bool several;
};

static void see_batch(void *opaque, const struct result *result)
{
    struct batches_seen *seen = opaque;
    seen->several = seen->several || (seen->batch && seen->batch != result->batch);
    seen->batch = result->batch;
}

struct added {
    struct zip_stream *zip;
    bool folders;
};

static void add_result(void *opaque, const struct result *result)
{
    struct added *a = opaque;
    zip_stream_add(a->zip, result->job, a->folders ? result->batch_name : NULL, result->name);
}

static void add_gone(void *opaque, const char *sentence)
{
    struct added *a = opaque;
    zip_stream_miss(a->zip, sentence);
}

// Results of one batch lie side by side, those of several in a folder for each batch. Batches of
// one name share a folder; zip_stream_add() tells their files apart.
static void send_zip(struct request *r, const int64_t *jobs, int n)
{
    struct kb_error err = {0};
    struct batches_seen seen = {0};
    if (pack_each(request_store(r), jobs, n, see_batch, NULL, &seen, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    if (!seen.batch) {
        reply_problem(r, 404, "not_found", _("there are no results to pack"));
        return;
    }
    if (!quota_enter(request_server(r)->zips, request_client_key(r))) {
        reply_header(r, "Retry-After", "30");
        reply_problem(r, 429, "too_many",
                      _("several zips are being sent already; wait until one of them has come"));
        return;
    }
    struct added added = {
        .zip = zip_stream_create(
            request_server(r)->params.data, request_server(r)->pool,
            _("These results are not in this zip, because their files are gone:")),
        .folders = seen.several};
    zip_stream_holds(added.zip, request_server(r)->zips, request_client_key(r));
    if (pack_each(request_store(r), jobs, n, add_result, add_gone, &added, &err) != KB_OK) {
        zip_stream_free(added.zip);
        reply_error(r, &err);
        return;
    }
    time_t now = time(NULL);
    struct tm t;
    char value[80];
    localtime_r(&now, &t);
    strftime(value, sizeof(value), "attachment; filename=\"koubo-%Y%m%d-%H%M.zip\"", &t);
    reply_header(r, "Content-Disposition", value);
    reply_header(r, "Cache-Control", "no-store");
    reply_stream(r, "application/zip", zip_stream_read, zip_stream_free, added.zip, NULL);
}

static void zip_filtered(struct request *r)
{
    struct result_filter f;
    struct kb_error err = {0};
    CLEANUP(kb_freep) int64_t *jobs = NULL;
    int n;
    if (!read_filter(r, &f))
        return;
    if (result_ids(request_store(r), &f, &jobs, &n, &err) == KB_OK)
        send_zip(r, jobs, n);
    else
        reply_error(r, &err);
}

// "1,2,3". free(*ret). False: answered.
static bool parse_jobs(struct request *r, const char *list, int64_t **ret, int *ret_n)
{
    CLEANUP(kb_freep) int64_t *ids = kb_alloc(MAX_CHOSEN * sizeof(*ids));
    int n = 0;
    const char *p = list;
    while (n < MAX_CHOSEN && *p >= '0' && *p <= '9') {
        char *end;
        errno = 0;
        ids[n++] = strtoll(p, &end, 10);
        if (errno != 0)
            break;
        p = end;
        if (*p != ',')
            break;
        p++;
    }
    if (n == 0 || *p != '\0' || p[-1] == ',') {
        CLEANUP(kb_freep)
        char *sentence =
            kb_printf(_("jobs must be 1 to %d numbers with commas between"), MAX_CHOSEN);
        reply_problem(r, 400, "bad_input", sentence);
        return false;
    }
    *ret = TAKE(ids);
    *ret_n = n;
    return true;
}

static void get_zip(struct request *r)
{
    CLEANUP(kb_freep) int64_t *ids = NULL;
    int n;
    const char *jobs = request_query(r, "jobs");
    if (!jobs)
        zip_filtered(r);
    else if (parse_jobs(r, jobs, &ids, &n))
        send_zip(r, ids, n);
}

static void post_zip(struct request *r)
{
    CLEANUP(kb_freep) int64_t *ids = NULL;
    int n;
    json_t *body = request_json(r);
    if (body && read_jobs(r, body, &ids, &n))
        send_zip(r, ids, n);
}

const struct route api_results_routes[] = {
    {"GET", "/api/v1/results", list_results, 0, NULL},
    {"POST", "/api/v1/results/delete", delete_results, 0, NULL},
    {"GET", "/api/v1/results/ids", list_ids, 0, NULL}, // these two before {job}
    {"GET", "/api/v1/results/zip", get_zip, 0, NULL},
    {"POST", "/api/v1/results/zip", post_zip, 0, NULL},
    {"GET", "/api/v1/results/{job}", get_result, 0, NULL},
    {"GET", "/api/v1/results/{job}/video", get_video, 0, NULL},
    {"GET", "/api/v1/results/{job}/download", get_download, 0, NULL},
    {"GET", "/api/v1/results/{job}/thumbnail", get_thumbnail, 0, NULL},
    {"PATCH", "/api/v1/results/{job}", rename_result, 0, NULL},
    {"DELETE", "/api/v1/results/{job}", delete_result, 0, NULL},
    {0},
};
