// What a machine must know to do a job: its files, what was found of them, and the options.
#include "cluster/head_parts.h"

#include "asset/claim.h"
#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/model.h"
#include "queue/subtitles.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The contents of a job in the order of HEAD_NEEDS; the model comes last.
struct contents {
    const char *role, *sha256, *name;
};

// Returns how many.
static int list_contents(const struct job_claim *c, struct contents ret[HEAD_NEEDS - 1])
{
    ret[0] = (struct contents){"audio", c->audio_sha256, c->audio_name};
    ret[1] = (struct contents){"video", c->video_sha256, c->video_name};
    for (int i = 0; i < c->n_materials; i++) {
        const struct job_material *m = &c->materials[i];
        ret[2 + i] = (struct contents){m->role->name, m->sha256, m->name};
    }
    return 2 + c->n_materials;
}

bool head_is_gone(struct head *h, const struct job_claim *c, struct kb_error *why)
{
    struct contents all[HEAD_NEEDS - 1];
    int n = list_contents(c, all);
    *why = (struct kb_error){0};
    for (int i = 0; i < c->n_materials; i++)
        if (!c->materials[i].path) {
            material_gone(c->materials[i].role->name, why);
            return true;
        }
    for (int i = 0; i < n; i++) {
        CLEANUP(kb_freep) char *path = kb_printf("files/%s", all[i].sha256);
        struct stat st;
        if (!*all[i].sha256 || beneath_stat(h->store->folder, path, &st) || errno != ENOENT)
            continue;
        kb_fail(why, KB_NOT_FOUND, _("the upload of '%s' is gone: upload it again"), all[i].name);
        asset_content_gone(h->store, all[i].sha256, why, NULL); // else the next job finds it
        return true;
    }
    return false;
}

static bool is_damaged(struct head *h, const char *sha256, bool *ret_later)
{
    char found[65];
    struct kb_error err;
    CLEANUP(kb_freep) char *path = kb_printf("files/%s", sha256);
    int fd = beneath_open(h->store->folder, path, O_RDONLY, 0);
    if (fd < 0)
        return false; // who is offered the job next finds that it is gone
    enum kb_code code = head_hash(h, path, fd, found, &err);
    *ret_later = code == KB_EOF;
    return code == KB_OK && strcmp(found, sha256) != 0;
}

enum kb_code head_end_damaged(struct head *h, const struct held *held, bool *ret_later,
                              struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    struct contents all[HEAD_NEEDS - 1];
    struct kb_error why = {0};
    const struct contents *bad = NULL;
    enum kb_code code = remote_read(h->store, &held->r, &c, err);
    if (code != KB_OK)
        return code;
    int n = list_contents(&c, all);
    for (int i = 0; i < n && !bad; i++)
        bad = strcmp(all[i].sha256, held->bad) == 0 ? &all[i] : NULL;
    if (!bad || !is_damaged(h, bad->sha256, ret_later))
        return KB_EOF;
    kb_fail(&why, KB_BAD_INPUT, _("the upload of '%s' is damaged: upload it again"), bad->name);
    log_error(_("job %lld ended: %s"), (long long)held->r.job, why.text);
    // First the file: while it is there with its size, another upload of the same would be taken
    // for it.
    CLEANUP(kb_freep) char *path = kb_printf("files/%s", bad->sha256);
    beneath_unlink(h->store->folder, path);
    code = remote_failed(h->store, &held->r, &why, err);
    if (code == KB_OK)
        asset_content_gone(h->store, bad->sha256, &why, NULL); // else the next job finds it
    return code;
}

// Ends the job with a sentence that no attempt will change.
static enum kb_code fail_job(struct head *h, const struct held *held, const struct kb_error *why,
                             struct kb_error *err)
{
    enum kb_code code = remote_failed(h->store, &held->r, why, err);
    h->stale = h->has_ended = true;
    if (code != KB_OK && code != KB_NOT_FOUND)
        return code;
    return kb_fail(err, KB_NOT_FOUND, "job %lld has ended", (long long)held->r.job);
}

// What the job is, and the file of its model. KB_NOT_FOUND: it ended, as something is gone; KB_EOF:
// that file is being read.
static enum kb_code read_job(struct head *h, const struct held *held, struct job_claim *c,
                             struct model_file *m, struct kb_error *err)
{
    enum kb_code code = remote_read(h->store, &held->r, c, err);
    if (code != KB_OK)
        return code;
    struct kb_error why = {0};
    if (head_is_gone(h, c, &why))
        return fail_job(h, held, &why, err);
    code = model_known(m, c->options, &why);
    if (code == KB_EOF) {
        char hash[65];
        code = head_hash(h, c->options, -1, hash, &why);
        if (code == KB_OK)
            code = model_known(m, c->options, &why);
    }
    return code == KB_OK || code == KB_EOF ? code : fail_job(h, held, &why, err);
}

// --- what an S3 depot must have

void needs_free(struct need **needs)
{
    for (int i = 0; *needs && i < HEAD_NEEDS; i++)
        free((*needs)[i].path);
    kb_freep(needs);
}

enum kb_code head_needs(struct head *h, struct held *held, struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    CLEANUP(model_file_free) struct model_file m = {0};
    enum kb_code code = read_job(h, held, &c, &m, err);
    if (code != KB_OK)
        return code;
    struct contents all[HEAD_NEEDS - 1];
    int n_contents = list_contents(&c, all);
    held->needs = kb_alloc(HEAD_NEEDS * sizeof(*held->needs));
    for (int i = 0; i < n_contents; i++) {
        struct need *n = &held->needs[i];
        memcpy(n->sha256, all[i].sha256, sizeof(n->sha256));
        if (n->sha256[0])
            n->path = store_path(h->store, "files", n->sha256);
    }
    struct need *model = &held->needs[HEAD_NEEDS - 1];
    memcpy(model->sha256, m.sha256, sizeof(model->sha256));
    // The folder of models may hold links, and where they lead is the owner's choice.
    model->path = m.path ? realpath(m.path, NULL) : NULL;
    if (!model->path) // it went just now, which who sends it will see
        model->path = TAKE(m.path);
    return KB_OK;
}

// --- the order

// KB_EOF: it cannot be told.
static enum kb_code add_content(struct head *h, json_t *files, const struct contents *c,
                                struct kb_error *err)
{
    if (!*c->sha256)
        return KB_OK;
    CLEANUP(text_free) struct text facts = {0};
    CLEANUP(kb_freep) char *path = kb_printf("files/%s", c->sha256);
    enum kb_code code = content_facts_json(h->store, c->sha256, &facts, err);
    if (code != KB_OK)
        return code;
    json_t *file =
        json_pack("{s:s, s:s, s:I, s:s, s:o}", "role", c->role, "sha256", c->sha256, "size",
                  (json_int_t)beneath_size(h->store->folder, path), "name", c->name ? c->name : "",
                  "facts", json_loads(text_get(&facts), JSON_DECODE_ANY, NULL));
    return file && json_array_append_new(files, file) == 0 ? KB_OK : KB_EOF;
}

// Batch's name and language stand in what the file says of itself.
static const char *note_word(const json_t *note, const char *key)
{
    const char *word = json_string_value(json_object_get(note, key));
    return word ? word : "";
}

// Subtitles come back within the film alone: those that were to lie beside it are a stream there.
static void put_subtitles_in(json_t *options)
{
    const char *as = json_string_value(json_object_get(options, "subtitles_as"));
    if (!as || !strstr(as, "srt") || strstr(as, "stream"))
        return;
    CLEANUP(kb_freep) char *more = kb_printf("%s,stream", as);
    json_object_set_new(options, "subtitles_as", json_string(more));
}

static json_t *pack(struct store *s, const struct job_claim *c, json_t *files)
{
    CLEANUP(kb_freep) char *told = subtitles_tell_text(s, c->options, c->audio_sha256);
    json_t *options = json_loads(told ? told : c->options ? c->options : "{}", 0, NULL);
    put_subtitles_in(options);
    json_auto_t *note = json_loads(c->note ? c->note : "{}", 0, NULL);
    for (int i = 0; i < c->n_materials; i++) // ids of ours; the files are in the list
        json_object_del(options, c->materials[i].role->name);
    return json_pack("{s:s, s:I, s:I, s:i, s:o, s:o, s:s, s:s, s:[f, f, f], s:s, s:s}", "is", "go",
                     "job", (json_int_t)c->job, "lease", (json_int_t)c->lease, "attempt",
                     c->attempt, "files", files, "options", options, "output_name",
                     path_name(c->output_name), "note", c->note ? c->note : "", "face_at",
                     c->face_at[0], c->face_at[1], c->face_at[2], "lang", note_word(note, "lang"),
                     "batch_name", note_word(note, "batch_name"));
}

enum kb_code head_go(struct head *h, const struct held *held, json_t **ret, struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    CLEANUP(model_file_free) struct model_file m = {0};
    struct contents all[HEAD_NEEDS - 1];
    enum kb_code code = read_job(h, held, &c, &m, err);
    if (code != KB_OK)
        return code;
    int n = list_contents(&c, all);
    json_t *files = json_array();
    for (int i = 0; i < n && code == KB_OK; i++)
        code = add_content(h, files, &all[i], err);
    if (code == KB_OK && m.path)
        json_array_append_new(files, json_pack("{s:s, s:s, s:I, s:s, s:n}", "role", "model",
                                               "sha256", m.sha256, "size", (json_int_t)m.size,
                                               "name", m.name, "facts"));
    if (code == KB_OK)
        *ret = pack(h->store, &c, files);
    else
        json_decref(files);
    if (code != KB_OK && code != KB_EOF)
        return code;
    if (*ret && json_dumpb(*ret, NULL, 0, JSON_COMPACT) <= WIRE_BYTES)
        return KB_OK;
    json_decref(*ret);
    *ret = NULL;
    struct kb_error why = {0};
    kb_fail(&why, KB_INTERNAL,
            _("job %lld cannot be told to a worker: a name in it is not valid UTF-8, or it is "
              "too long; upload the files under other names"),
            (long long)held->r.job);
    return fail_job(h, held, &why, err);
}
