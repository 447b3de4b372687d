// People: what is chosen again and again, as rows and as files.
#include "queue/person.h"

#include "asset/asset.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uri.h"
#include "queue/person_file.h"
#include "server/api/batch_body.h"
#include "server/api/fields.h"
#include "server/errand.h"
#include "server/internal.h"
#include "server/quota.h"
#include "server/upload/upload.h"

#include <stdlib.h>
#include <string.h>

static void list_people(struct request *r)
{
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    if (person_list_json(request_store(r), &answer, &err) == KB_OK)
        reply_json(r, 200, text_get(&answer));
    else
        reply_error(r, &err);
}

static void answer_person(struct request *r, int status, const char *id)
{
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    if (person_json(request_store(r), id, &answer, &err) == KB_OK)
        reply_json(r, status, text_get(&answer));
    else
        reply_error(r, &err);
}

static void get_person(struct request *r)
{
    answer_person(r, 200, request_part(r, 0));
}

// --- a file of one

struct arrival {
    char *data, *path, *name, *client;
    char asset[33], lang[4];
    int64_t most_bytes, keep_bytes;
};

static void arrival_free(void *ctx)
{
    struct arrival *a = ctx;
    free(a->data);
    free(a->path);
    free(a->name);
    free(a->client);
    free(a);
}

static enum kb_code has_room(void *ctx, struct kb_error *err)
{
    const struct arrival *a = ctx;
    return upload_check_room(a->data, a->keep_bytes, UPLOAD_CHECK_BYTES, err);
}

// The file itself goes when all of it is in: it is of no other use.
static enum kb_code import(struct arrival *a, struct store *s, const struct cancel *cancel,
                           struct text *ret, struct kb_error *err)
{
    char id[33];
    const struct asset_care care = {.cancel = cancel, .room = has_room, .ctx = a};
    const struct person_import p = {.path = a->path,
                                    .name = a->name,
                                    .most_bytes = a->most_bytes,
                                    .client = a->client,
                                    .lang = a->lang,
                                    .care = &care};
    enum kb_code code = person_import(s, &p, id, err);
    if (code == KB_OK)
        code = person_json(s, id, ret, err);
    if (code == KB_OK)
        asset_delete(s, a->asset, NULL);
    return code;
}

// It answers 200 before it knows; what went wrong stands in "error", with its sentence.
static void import_work(void *ctx, const struct cancel *cancel, struct text *ret)
{
    struct arrival *a = ctx;
    struct kb_error err = {0};
    CLEANUP(store_close) struct store *s = NULL;
    CLEANUP(text_free) struct text person = {0};
    enum kb_code code = store_open(&s, a->data, false, &err);
    if (code == KB_OK)
        code = import(a, s, cancel, &person, &err);
    json_auto_t *answer = code == KB_OK
                              ? json_pack("{s:o}", "person", json_loads(text_get(&person), 0, NULL))
                              : json_pack("{s:s}", "error", err.text);
    CLEANUP(kb_freep) char *json = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    text_add(ret, json ? json : "{\"error\":\"\"}");
}

static void start_import(struct request *r, const char *asset, const char *name)
{
    struct asset a = {0};
    struct kb_error err = {0};
    const struct server *s = request_server(r);
    enum kb_code code = asset_find(request_store(r), asset, &a, &err);
    if (code == KB_OK && (a.job || !a.sha256[0]))
        code = kb_fail(&err, KB_NOT_FOUND, _("'%s' is not whole yet"), a.name);
    if (code != KB_OK) {
        reply_error(r, &err);
        return;
    }
    struct arrival *new = kb_alloc(sizeof(*new));
    new->data = kb_strdup(s->params.data);
    new->path = asset_path(request_store(r), a.sha256);
    new->name = name ? kb_strdup(name) : NULL;
    new->client = kb_strdup(request_client_key(r));
    new->most_bytes = upload_limit(s);
    new->keep_bytes = s->params.supervisor.worker.min_free_bytes;
    memcpy(new->asset, a.id, sizeof(new->asset));
    snprintf(new->lang, sizeof(new->lang), "%s", request_lang(r));
    reply_errand(r, s->errands, import_work, arrival_free, new);
}

// --- making, changing, removing

// {"name", "video", "options", "face_at"}, or {"file", "name"}.
static void create_person(struct request *r)
{
    static const char *const names[] = {"name", "video", "file", "options", "face_at", NULL};
    const char *name, *video, *file;
    CLEANUP(kb_freep) char *options = NULL;
    double at[3];
    char id[33];
    struct kb_error err = {0};
    json_t *body = request_json(r);
    if (!body || !fields_known(r, body, names) || !field_text(r, body, "file", false, 64, &file) ||
        !field_text(r, body, "name", !file, PERSON_NAME_LETTERS, &name) ||
        !field_text(r, body, "video", !file, 64, &video) ||
        !field_object(r, body, "options", &options))
        return;
    if (file) {
        start_import(r, file, name);
        return;
    }
    if (!body_face_at(body, at)) {
        reply_problem(r, 400, "bad_input",
                      _("'face_at' must be [x, y] with numbers from 0 to 1, or [x, y, seconds]"));
        return;
    }
    const struct person_params p = {
        .name = name, .video = video, .options = options, .face_at = at};
    if (person_create(request_store(r), &p, id, &err) == KB_OK)
        answer_person(r, 201, id);
    else
        reply_error(r, &err);
}

static void change_person(struct request *r)
{
    static const char *const names[] = {"name", "options", "face_at", NULL};
    const char *name;
    CLEANUP(kb_freep) char *options = NULL;
    double at[3];
    struct kb_error err = {0};
    json_t *body = request_json(r);
    if (!body || !fields_known(r, body, names) ||
        !field_text(r, body, "name", false, PERSON_NAME_LETTERS, &name) ||
        !field_object(r, body, "options", &options))
        return;
    if (!body_face_at(body, at)) {
        reply_problem(r, 400, "bad_input",
                      _("'face_at' must be [x, y] with numbers from 0 to 1, or [x, y, seconds]"));
        return;
    }
    const struct person_params p = {
        .name = name, .options = options, .face_at = json_object_get(body, "face_at") ? at : NULL};
    if (person_change(request_store(r), request_part(r, 0), &p, &err) == KB_OK)
        answer_person(r, 200, request_part(r, 0));
    else
        reply_error(r, &err);
}

static void delete_person(struct request *r)
{
    struct kb_error err = {0};
    if (person_delete(request_store(r), request_part(r, 0), &err) == KB_OK)
        reply_empty(r, 204);
    else
        reply_error(r, &err);
}

// --- a person as a file

struct sending {
    struct person_export *file;
    struct quota *quota;
    char *client;
};

static int64_t sending_read(void *ctx, char *buffer, size_t max)
{
    return person_export_read(((struct sending *)ctx)->file, buffer, max);
}

static void sending_free(void *ctx)
{
    struct sending *s = ctx;
    person_export_free(s->file);
    quota_leave(s->quota, s->client);
    free(s->client);
    free(s);
}

static void export_person(struct request *r)
{
    struct kb_error err = {0};
    struct person_export *file = NULL;
    if (person_export_create(request_store(r), request_part(r, 0), &file, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    if (!quota_enter(request_server(r)->zips, request_client_key(r))) {
        person_export_free(file);
        reply_header(r, "Retry-After", "30");
        reply_problem(r, 429, "too_many",
                      _("several zips are being sent already; wait until one of them has come"));
        return;
    }
    struct sending *s = kb_alloc(sizeof(*s));
    s->file = file;
    s->quota = request_server(r)->zips;
    s->client = kb_strdup(request_client_key(r));
    reply_download(r, person_export_name(file));
    reply_header(r, "Cache-Control", "no-store");
    reply_stream(r, "application/octet-stream", sending_read, sending_free, s, NULL);
}

const struct route api_people_routes[] = {
    {"GET", "/api/v1/people", list_people, 0, NULL},
    {"POST", "/api/v1/people", create_person, 0, NULL},
    {"GET", "/api/v1/people/{id}", get_person, 0, NULL},
    {"PATCH", "/api/v1/people/{id}", change_person, 0, NULL},
    {"DELETE", "/api/v1/people/{id}", delete_person, 0, NULL},
    {"GET", "/api/v1/people/{id}/export", export_person, 0, NULL},
    {0},
};
