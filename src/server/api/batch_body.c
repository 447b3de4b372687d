#include "server/api/batch_body.h"

#include "queue/person.h"
#include "server/api/fields.h"
#include "server/internal.h"

#include <stdlib.h>
#include <string.h>

#define NAME_LETTERS 200
#define JOBS_MAX     1000

static bool refuse(struct request *r, const char *sentence, int n)
{
    struct kb_error err = {0};
    kb_fail(&err, KB_BAD_INPUT, sentence, JOBS_MAX, n);
    reply_error(r, &err);
    return false;
}

// --- whom somebody chose

bool body_face_at(const json_t *entry, double ret[3])
{
    const json_t *at = json_object_get(entry, "face_at");
    size_t n = json_array_size(at);
    bool there = at && !json_is_null(at), good = !there || n == 2 || n == 3;
    for (size_t i = 0; i < 3; i++) {
        const json_t *number = json_array_get(at, i);
        ret[i] = number ? json_number_value(number) : -1;
        if (number)
            good = good && json_is_number(number) && ret[i] >= 0 && (ret[i] <= 1 || i == 2);
    }
    return good;
}

// --- videos

// An entry of "videos": an id, or {"id": …, "face_at": …}, or with "person" instead of "id", which
// *ret_person says. NULL: it is none of them.
static const char *read_video(const json_t *entry, double ret_face[3], bool *ret_person)
{
    const json_t *person = json_object_get(entry, "person");
    const json_t *id = person                  ? person
                       : json_is_object(entry) ? json_object_get(entry, "id")
                                               : entry;
    size_t known = json_object_size(entry) - (json_object_get(entry, "face_at") != NULL);
    *ret_person = person != NULL;
    if (!json_is_string(id) || (json_is_object(entry) && known != 1))
        return NULL;
    return body_face_at(entry, ret_face) ? json_string_value(id) : NULL;
}

// The i-th video is a person's: his film, who of it speaks unless that was said, and his options.
static enum kb_code take_person(struct store *s, struct batch_body *b, size_t i,
                                struct kb_error *err)
{
    CLEANUP(person_free) struct person p = {0};
    char *own = NULL;
    enum kb_code code = person_find(s, b->videos[i], false, &p, err);
    if (code == KB_OK)
        code = person_own_options(&p, b->options, &own, err);
    if (code != KB_OK)
        return code;
    b->texts[b->n_texts++] = own;
    b->own[i] = own;
    char *video = kb_strdup(p.video);
    b->texts[b->n_texts++] = video;
    b->videos[i] = video;
    if (b->faces[i][0] < 0)
        memcpy(b->faces[i], p.face_at, sizeof(b->faces[i]));
    return KB_OK;
}

// After the options.
static bool read_videos(struct request *r, const json_t *list, struct batch_body *b)
{
    size_t n = json_array_size(list), i;
    struct kb_error err = {0};
    bool good = n >= 1 && n <= JOBS_MAX, person = false;
    n = good ? n : 0;
    b->videos = kb_alloc((n + 1) * sizeof(*b->videos));
    b->faces = kb_alloc((n + 1) * sizeof(*b->faces));
    b->own = kb_alloc((n + 1) * sizeof(*b->own));
    b->texts = kb_alloc((2 * n + 1) * sizeof(*b->texts));
    for (i = 0; i < n && good; i++) {
        b->videos[i] = read_video(json_array_get(list, i), b->faces[i], &person);
        good = b->videos[i] != NULL;
        if (good && person && take_person(request_store(r), b, i, &err) != KB_OK) {
            reply_error(r, &err);
            return false;
        }
    }
    if (!good)
        return refuse(r,
                      _("the field 'videos' must be a list of 1 to %d ids of uploaded videos, or "
                        "of objects {\"id\": …, \"face_at\": [x, y]} with numbers from 0 to 1, or "
                        "[x, y, seconds]"),
                      0);
    b->params.videos = b->videos;
    b->params.face_at = (const double(*)[3])b->faces;
    b->params.own_options = b->own;
    b->params.n_videos = (int)n;
    return true;
}

// --- pairs

static bool read_pair(struct request *r, json_t *entry, const char *audio, struct batch_body *b,
                      struct batch_pair *ret)
{
    static const char *const names[] = {"audio", "video", "name", "options", "face_at", NULL};
    char *options = NULL;
    if (!fields_known(r, entry, names) || !field_text(r, entry, "audio", false, 64, &ret->audio) ||
        !field_text(r, entry, "video", true, 64, &ret->video) ||
        !field_text(r, entry, "name", false, NAME_LETTERS, &ret->name) ||
        !field_object(r, entry, "options", &options))
        return false;
    if (options)
        b->texts[b->n_texts++] = options;
    ret->options = options;
    if (!ret->audio)
        ret->audio = audio;
    if (ret->name && !*ret->name)
        ret->name = NULL;
    if (ret->audio && *ret->audio && body_face_at(entry, ret->face_at))
        return true;
    return refuse(r,
                  _("the field 'jobs' must be a list of 1 to %d objects {\"audio\": …, \"video\": "
                    "…}, each with \"face_at\": [x, y] or [x, y, seconds] if need be; number %d is "
                    "none"),
                  (int)(ret - b->pairs) + 1);
}

static bool read_pairs(struct request *r, const json_t *list, struct batch_body *b)
{
    size_t n = json_array_size(list), i;
    json_t *entry;
    if (n < 1 || n > JOBS_MAX)
        return refuse(r, _("the field 'jobs' must be a list of 1 to %d pairs"), 0);
    b->pairs = kb_alloc(n * sizeof(*b->pairs));
    b->texts = kb_alloc(n * sizeof(*b->texts));
    json_array_foreach(list, i, entry)
    {
        if (!read_pair(r, entry, b->params.audio, b, &b->pairs[i]))
            return false;
    }
    b->params.pairs = b->pairs;
    b->params.n_pairs = (int)n;
    return true;
}

// --- all of it

bool batch_body_read(struct request *r, bool speech, struct batch_body *ret)
{
    static const char *const names[] = {"name",    "audio",    "videos", "jobs",
                                        "options", "priority", "notify", NULL};
    struct batch_params *p = &ret->params;
    *ret = (struct batch_body){.params = {.priority = 5}};
    int64_t priority = p->priority;
    bool has_priority;
    json_t *body = request_json(r), *jobs = body ? json_object_get(body, "jobs") : NULL;
    bool pairs = jobs && !json_is_null(jobs);
    if (!body || !fields_known(r, body, names) ||
        !field_text(r, body, "name", false, NAME_LETTERS, &p->name) ||
        !field_text(r, body, "audio", speech && !pairs, 64, &p->audio))
        return false;
    if (pairs && json_object_get(body, "videos"))
        return refuse(r, _("the fields 'videos' and 'jobs' exclude each other; give one of them"),
                      0);
    if (!field_object(r, body, "options", &ret->options) ||
        (pairs ? !read_pairs(r, jobs, ret)
               : !read_videos(r, json_object_get(body, "videos"), ret)) ||
        !field_int(r, body, "priority", 0, 9, &priority, &has_priority) ||
        !field_object(r, body, "notify", &ret->notify))
        return false;
    p->options = ret->options;
    p->priority = (int)priority;
    return true;
}

void batch_body_free(struct batch_body *b)
{
    for (int i = 0; i < b->n_texts; i++)
        free(b->texts[i]);
    free(b->texts);
    free(b->pairs);
    free(b->videos);
    free(b->faces);
    free(b->own);
    free(b->options);
    free(b->notify);
}
