#include "server/api/estimate.h"

#include "queue/estimate.h"
#include "server/api/fields.h"
#include "server/internal.h"

#include <stdlib.h>

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
        !field_videos(r, body, &videos, &p.n_videos) || !field_object(r, body, "options", &options))
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
