#include "server/api/estimate.h"

#include "queue/estimate.h"
#include "server/api/fields.h"
#include "server/internal.h"

#include <stdlib.h>

#define VIDEOS_MAX 1000

// An entry is an id, or an object that holds one. NULL: neither.
static const char *video_id(const json_t *entry)
{
    return json_string_value(json_is_object(entry) ? json_object_get(entry, "id") : entry);
}

// *ret points into body; free() the array alone. False: answered.
static bool take_ids(struct request *r, json_t *body, const char ***ret, int *ret_n)
{
    json_t *videos = json_object_get(body, "videos"), *entry;
    size_t n = json_array_size(videos), i;
    bool good = n >= 1 && n <= VIDEOS_MAX;
    CLEANUP(kb_freep) const char **ids = kb_alloc((n + 1) * sizeof(*ids));
    json_array_foreach(videos, i, entry)
    {
        ids[i] = video_id(entry);
        good = good && ids[i];
    }
    if (!good) {
        CLEANUP(kb_freep)
        char *sentence = kb_printf(
            _("the field 'videos' must be a list of 1 to %d ids of uploaded videos"), VIDEOS_MAX);
        reply_problem(r, 400, "bad_input", sentence);
        return false;
    }
    *ret = TAKE(ids);
    *ret_n = (int)n;
    return true;
}

static json_t *known(double value)
{
    return value >= 0 ? json_real(value) : json_null();
}

void estimate_batch(struct request *r)
{
    static const char *const names[] = {"name",     "audio",  "videos", "options",
                                        "priority", "notify", NULL};
    struct batch_params p = {0};
    CLEANUP(kb_freep) const char **videos = NULL;
    CLEANUP(kb_freep) char *options = NULL;
    struct batch_estimate estimate;
    struct kb_error err = {0};
    json_t *body = request_json(r);
    if (!body || !fields_known(r, body, names) ||
        !field_text(r, body, "audio", false, 64, &p.audio) ||
        !take_ids(r, body, &videos, &p.n_videos) || !field_object(r, body, "options", &options))
        return;
    p.videos = videos;
    p.options = options;
    if (batch_estimate(request_store(r), &p, &estimate, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    json_auto_t *answer =
        json_pack("{s:o, s:o}", "seconds", known(estimate.seconds), "bytes", known(estimate.bytes));
    CLEANUP(kb_freep) char *json = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(12));
    reply_json(r, 200, json);
}
