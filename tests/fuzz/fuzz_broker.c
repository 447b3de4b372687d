// What a worker says to the server over its line, each line of the input a packet. The first byte
// tells which worker: 'j' one with a job, 'a' an inspector with a file, 't' one with a text to
// speak. What was taken must be in its range, whatever was said.
#include "base/log.h"
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "worker/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void must_hold(bool holds)
{
    if (!holds)
        abort();
}

static void check(const struct seat *s)
{
    const struct job_report *r = &s->report;
    const struct dub_result *d = &s->result;
    must_hold(r->stage >= 0 && r->stage < N_STAGES && r->done >= 0 && r->total >= 0);
    must_hold(isfinite(r->fps) && s->rss_bytes >= 0 && isfinite(s->progress));
    must_hold(utf8_valid(s->state) && utf8_valid(s->model) && utf8_valid(s->why.text));
    must_hold(s->facts.n_peaks >= 0 && s->facts.n_peaks <= (int)sizeof(s->peaks));
    must_hold(s->facts.n_face_boxes >= 0 && s->facts.n_face_boxes <= ASSET_FACE_BOXES);
    if (s->ending == ENDED_WELL && s->has_job)
        must_hold(d->frames > 0 && d->frames_animated <= d->frames && d->width > 0 &&
                  d->height > 0);
    must_hold(!s->ending || s->has_job || s->has_asset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    int line[2];
    log_set_level((enum log_level) - 1); // what workers have to say is not for here
    if (size == 0 || line_pair(line, &err) != KB_OK)
        return 0;
    struct seat s = {.taken = true, .clean = true, .state = "starting"};
    snprintf(s.worker, sizeof(s.worker), "w1");
    s.inspect = *data != 'j';
    s.has_asset = s.inspect;
    s.has_job = !s.inspect;
    if (*data == 'a')
        memset(s.asset.sha256, '0', 64);
    const uint8_t *end = data + size;
    for (const uint8_t *at = data + 1, *next; at < end && !s.bad; at = next + 1) {
        next = memchr(at, '\n', (size_t)(end - at));
        next = next ? next : end;
        json_auto_t *message = NULL;
        if (next == at || send(line[1], at, (size_t)(next - at), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            continue;
        s.bad = line_receive(line[0], &message) != LINE_MESSAGE || !seat_hear(&s, message);
        check(&s);
    }
    close(line[0]);
    close(line[1]);
    seat_drop(&s);
    return 0;
}
