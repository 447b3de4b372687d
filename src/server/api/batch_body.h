// The body of a request that makes a batch, or asks what one would take: NewBatch of
// docs/openapi.yaml. Threads: on the network thread of the request.
#ifndef SERVER_API_BATCH_BODY_H
#define SERVER_API_BATCH_BODY_H

#include "http/http.h"
#include "queue/batch.h"

struct batch_body {
    struct batch_params params; // all but client, lang and note; its texts live as long as the body
    const char **videos;
    double (*faces)[3];
    const char **own; // options of people
    struct batch_pair *pairs;
    char **texts; // what these two point to
    int n_texts;
    char *options, *notify; // as JSON; notify is not looked at
};

// False: 400 was answered, with a sentence that names the field. Also then batch_body_free() it.
// speech: there must be one for each video.
bool batch_body_read(struct request *r, bool speech, struct batch_body *ret);
void batch_body_free(struct batch_body *b);

// "face_at" of an object: [x, y] or [x, y, seconds]; absent or null is nobody, x < 0. No time:
// seconds < 0. False: it is something else.
bool body_face_at(const json_t *entry, double ret[3]);

#endif
