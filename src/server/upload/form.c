// A form is all or nothing: when one of its files is refused, or its sender goes away, those before
// it are removed again.
#include "server/upload/form.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "base/utf8.h"
#include "server/api/fields.h"
#include "server/api/voices.h"
#include "server/internal.h"
#include "server/speaker.h"
#include "server/upload/multipart.h"
#include "server/upload/upload.h"

#include <stdlib.h>
#include <string.h>

#define MAX_JSON 65536

struct form {
    struct request *request; // during a call of the sink
    bool is_json, failed;    // failed: answered already
    struct text json;
    struct multipart *multipart;
    struct asset_upload *upload; // of the present file
    int64_t received, checked;   // bytes of it; when the disk was looked at
    char name[64];               // its, for sentences
    char (*ids)[33];
    int n_ids;
};

// --- files

static void form_free(struct form **pointer)
{
    struct form *f = TAKE(*pointer);
    if (!f)
        return;
    multipart_free(&f->multipart);
    text_free(&f->json);
    free(f->ids);
    free(f);
}

// Take everything back that this form brought.
static void form_undo(struct request *r, struct form *f)
{
    struct store *s = request_store(r);
    if (f->upload)
        asset_upload_close(&f->upload, s, false, NULL, NULL);
    for (int i = 0; i < f->n_ids; i++)
        upload_forget(request_server(r), s, f->ids[i]);
    f->n_ids = 0;
    f->failed = true;
}

static bool file_begin(void *ctx, const char *name, const char *filename)
{
    struct form *f = ctx;
    if (!filename || !*filename) // another field, or one for files in which nothing was chosen
        return true;
    struct request *r = f->request;
    struct kb_error err = {0};
    if (!utf8_valid(filename)) {
        reply_problem(r, 400, "bad_input", _("a file name in the form is not UTF-8"));
        return false;
    }
    if (!upload_admit(r, &(struct upload_wish){.n_files = 1, .sizes = {-1}}))
        return false;
    struct asset_params p = {
        .name = filename,
        .size_bytes = -1,
        .client = request_client_key(r),
        .lang = request_lang(r),
        .expires_ms = kb_wall_ms() + UPLOAD_KEEP_MS,
    };
    char(*ids)[33] = realloc(f->ids, (size_t)(f->n_ids + 1) * sizeof(*ids));
    if (ids)
        f->ids = ids;
    enum kb_code code = ids ? KB_OK : kb_no_memory(&err);
    if (code == KB_OK)
        code = asset_create(request_store(r), &p, f->ids[f->n_ids], &err);
    if (code == KB_OK)
        code = asset_upload_open(&f->upload, request_store(r), f->ids[f->n_ids++], &err);
    f->received = f->checked = 0;
    snprintf(f->name, sizeof(f->name), "%s", filename);
    if (code != KB_OK)
        reply_error(r, &err);
    return code == KB_OK;
}

static bool file_data(void *ctx, const void *data, size_t n)
{
    struct form *f = ctx;
    if (!f->upload)
        return true;
    struct request *r = f->request;
    f->received += (int64_t)n;
    if (f->received > upload_limit(request_server(r))) {
        upload_too_large(r);
        return false;
    }
    if (f->received - f->checked >= UPLOAD_CHECK_BYTES) {
        f->checked = f->received;
        if (!upload_has_room(r, UPLOAD_CHECK_BYTES))
            return false;
    }
    struct kb_error err = {0};
    if (asset_upload_write(f->upload, data, n, &err) == KB_OK)
        return true;
    upload_reply_error(r, &err, 413);
    return false;
}

static bool file_end(void *ctx)
{
    struct form *f = ctx;
    if (!f->upload)
        return true;
    struct kb_error err = {0};
    enum kb_code code = KB_OK;
    if (f->received == 0)
        code = kb_fail(&err, KB_BAD_INPUT, _("the file '%s' is empty"), f->name);
    else
        code = asset_upload_close(&f->upload, request_store(f->request), true, NULL, &err);
    if (code != KB_OK)
        reply_error(f->request, &err);
    return code == KB_OK;
}

static const struct multipart_calls file_calls = {file_begin, file_data, file_end};

static void reply_files(struct request *r, struct form *f)
{
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    text_add(&answer, "{\"items\":[");
    for (int i = 0; i < f->n_ids; i++) {
        text_add(&answer, i ? "," : "");
        if (asset_json(request_store(r), f->ids[i], &answer, &err) != KB_OK) {
            reply_error(r, &err);
            return;
        }
    }
    text_add(&answer, "]}");
    reply_json(r, 201, text_get(&answer));
}

static void files_done(struct request *r, struct form *f)
{
    struct kb_error err = {0};
    enum kb_code code = multipart_finish(f->multipart, &err);
    if (code == KB_OK && f->n_ids == 0)
        code = kb_fail(&err, KB_BAD_INPUT, _("there is no file in the form"));
    if (code == KB_OK) {
        reply_files(r, f);
        return;
    }
    form_undo(r, f);
    reply_error(r, &err);
}

// --- addresses and texts

static void create_speech(struct request *r, json_t *body, const struct asset_params *p)
{
    struct asset_params params = *p;
    struct asset_speech speech;
    const char *text, *voice;
    if (!speech_fields(r, body, &text, &voice, &speech))
        return;
    params.speech = &speech;
    struct kb_error err = {0};
    char id[33];
    CLEANUP(text_free) struct text answer = {0};
    if (asset_create_speech(request_store(r), &params, text, voice, id, &err) != KB_OK ||
        asset_json(request_store(r), id, &answer, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 201, text_get(&answer));
    speaker_wake(request_server(r)->speaker);
}

static void create_fetched(struct request *r, json_t *body, const struct asset_params *p)
{
    const char *url;
    if (!field_text(r, body, "url", true, 2000, &url))
        return;
    struct kb_error err = {0};
    char id[33];
    CLEANUP(text_free) struct text answer = {0};
    if (asset_create_url(request_store(r), p, url, id, &err) != KB_OK ||
        asset_json(request_store(r), id, &answer, &err) != KB_OK)
        reply_error(r, &err);
    else
        reply_json(r, 201, text_get(&answer));
}

// What an address leads to has a size that nobody knows yet; what a speech takes, its text tells.
static bool admit_json(struct request *r, json_t *body)
{
    const char *text = json_string_value(json_object_get(body, "text"));
    struct upload_wish wish = {.n_files = 1, .sizes = {-1}};
    if (text)
        wish.letters = (int64_t)KB_MIN(utf8_count(text), (size_t)SPEECH_LETTERS);
    return upload_admit(r, &wish);
}

static void json_done(struct request *r, struct form *f)
{
    static const char *const names[] = {"url", "text", "voice", "speed", "pause", "name", NULL};
    json_error_t where;
    json_auto_t *body =
        json_loadb(text_get(&f->json), f->json.size, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(body)) {
        CLEANUP(kb_freep)
        char *sentence = body ? kb_strdup(_("the body is not a JSON object"))
                              : kb_printf(_("the body is not JSON: line %d, column %d: %s"),
                                          where.line, where.column, where.text);
        reply_problem(r, 400, "bad_input", sentence);
        return;
    }
    struct asset_params p = {
        .size_bytes = -1,
        .client = request_client_key(r),
        .lang = request_lang(r),
    };
    if (!fields_known(r, body, names) || !field_text(r, body, "name", false, 255, &p.name))
        return;
    if (p.name && !*p.name)
        p.name = NULL;
    bool text = json_object_get(body, "text"), url = json_object_get(body, "url");
    if (text == url)
        reply_problem(r, 400, "bad_input",
                      _("either text (to be spoken) or url (to be fetched) must be given"));
    else if (admit_json(r, body))
        (text ? create_speech : create_fetched)(r, body, &p);
}

// --- the sink

static void *form_open(struct request *r)
{
    struct kb_error err = {0};
    const char *type = request_header(r, "Content-Type");
    int64_t length = request_content_length(r);
    CLEANUP(form_free) struct form *f = kb_alloc(sizeof(*f));
    f->is_json = media_type_is(type, "application/json");
    if (f->is_json)
        return TAKE(f);
    if (!media_type_is(type, "multipart/form-data")) {
        reply_problem(r, 415, "media_type",
                      _("files are sent as multipart/form-data, addresses and texts as "
                        "application/json"));
        return NULL;
    }
    if (multipart_create(&f->multipart, type, &file_calls, f, &err) != KB_OK) {
        reply_error(r, &err);
        return NULL;
    }
    // One file cannot be larger than the limit, a form of many can; the disk must hold them all.
    if (!upload_has_room(r, KB_MAX(length, 1)))
        return NULL;
    return TAKE(f);
}

static bool form_piece(struct request *r, void *ctx, const void *data, size_t n)
{
    struct form *f = ctx;
    if (f->failed)
        return false;
    if (f->is_json) {
        f->failed = n > MAX_JSON - f->json.size;
        if (f->failed)
            reply_problem(r, 413, "too_large", _("the body is too large"));
        else
            text_add_bytes(&f->json, data, n);
        return !f->failed;
    }
    struct kb_error err = {0};
    f->request = r;
    enum kb_code code = multipart_feed(f->multipart, data, n, &err);
    f->request = NULL;
    if (code == KB_OK)
        return true;
    form_undo(r, f);
    if (code != KB_CANCELLED) // else one of the calls above has answered
        reply_error(r, &err);
    return false;
}

static void form_done(struct request *r, void *ctx)
{
    CLEANUP(form_free) struct form *f = ctx;
    if (f->failed)
        return;
    if (f->is_json)
        json_done(r, f);
    else
        files_done(r, f);
}

static void form_abort(void *server, void *ctx)
{
    CLEANUP(form_free) struct form *f = ctx;
    for (int i = f->n_ids - 1; i >= 0; i--) // the last one may be open
        upload_abandon(server, &f->upload, f->ids[i], false);
}

const struct body_sink form_sink = {form_open, form_piece, form_done, form_abort};
