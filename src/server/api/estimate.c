#include "server/api/estimate.h"

#include "queue/estimate.h"
#include "server/api/batch_body.h"
#include "server/internal.h"

#include <stdlib.h>

static json_t *known(double value)
{
    return value >= 0 ? json_real(value) : json_null();
}

void estimate_batch(struct request *r)
{
    CLEANUP(batch_body_free) struct batch_body body = {0};
    struct batch_estimate estimate;
    struct kb_error err = {0};
    if (!batch_body_read(r, false, &body))
        return;
    if (batch_estimate(request_store(r), &body.params, &estimate, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    json_auto_t *answer =
        json_pack("{s:o, s:o}", "seconds", known(estimate.seconds), "bytes", known(estimate.bytes));
    CLEANUP(kb_freep) char *json = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(12));
    reply_json(r, 200, json);
}
