// A preview, made by the worker that does nothing else: what it says of it, and where its file
// goes. Messages are those of a job; what becomes of it stands in memory alone (previews.h).
#include "worker/internal.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "store/privacy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *path_of(const char *name)
{
    return kb_printf("%s/%s", PREVIEWS_FOLDER, name);
}

void seat_clear_previews(const char *data)
{
    harvest_clear(data, PREVIEWS_FOLDER, NULL);
}

void seat_sweep_previews(struct previews *previews, const char *data)
{
    char name[40];
    while (previews_rubbish(previews, name)) {
        CLEANUP(kb_freep) char *path = path_of(name);
        beneath_unlink(data, path);
    }
}

// --- writing

// It is in the folder of the previews, as long as somebody wants it.
static void keep(struct seat *s, struct previews *previews, const char *data)
{
    struct kb_error why = {0};
    const char *tail = s->preview_picture ? ".jpg" : ".mp4";
    CLEANUP(kb_freep) char *name = kb_printf("%s%s", s->preview, tail);
    CLEANUP(kb_freep) char *to = path_of(name);
    if (!privacy_make_folder(data, PREVIEWS_FOLDER) || !harvest_file(s, data, tail, to)) {
        kb_fail(&why, KB_INTERNAL, _("the preview cannot be kept: %s; check the disk"),
                beneath_reason(errno));
        log_warn("%s", why.text);
        previews_end(previews, s->preview, NULL, &why);
    } else if (!previews_end(previews, s->preview, &s->result, NULL)) {
        beneath_unlink(data, to);
    }
}

void seat_write_preview(struct seat *s, struct previews *previews, const char *data)
{
    if (!s->ending) {
        if (!previews_report(previews, s->preview, &s->report) && !s->told) {
            line_send(s->line, true, json_pack("{s:s}", "is", "cancel"));
            s->told = true;
            s->told_us = kb_now_us();
        }
        return;
    }
    harvest_tracks(s, data);
    if (s->ending == ENDED_BACK)
        kb_fail(&s->why, KB_UNAVAILABLE, _("the preview could not be made now; try again"));
    if (s->ending == ENDED_WELL)
        keep(s, previews, data);
    else
        previews_end(previews, s->preview, NULL, &s->why);
    harvest_clear(data, s->folder, NULL);
    seat_drop(s);
}

void seat_lose_preview(struct seat *s, struct previews *previews, const char *data)
{
    struct kb_error why = {0};
    if (!s->preview[0])
        return;
    harvest_tracks(s, data);
    if (s->reason)
        kb_fail(&why, KB_INTERNAL, "%s", _(s->reason));
    else
        kb_fail(&why, KB_UNAVAILABLE, _("the preview could not be made now; try again"));
    previews_end(previews, s->preview, NULL, &why);
}

// --- giving

void seat_give_preview(struct seat *s, struct previews *previews, const char *data)
{
    const struct preview_order *order;
    if (!previews_take(previews, s->preview, &order))
        return;
    s->claim = order->claim;
    s->preview_picture = order->at >= 0;
    s->has_job = true;
    s->report = (struct job_report){.stage = STAGE_LOADING};
    s->moved_us = kb_now_us();
    kb_random_hex(s->file, FILE_STEM);
    harvest_lend(s, data);
    if (order->words && seat_wants_words(s))
        seat_lend_words(s, data, order->words);
    json_error_t error = {0};
    json_t *m = seat_pack_job(s, &error);
    bool never = line_is_closed_to(m, &error);
    if (m)
        json_object_set_new(m, "look",
                            json_pack("{s:f, s:f}", "seconds", order->seconds, "at", order->at));
    if (never) {
        kb_fail(&s->why, KB_BAD_INPUT,
                _("the preview cannot be told to a worker: a name in it is not valid UTF-8, or it "
                  "is too long; upload the files under other names"));
        s->ending = ENDED_BADLY;
        json_decref(m);
        return;
    }
    s->asks = !line_send(s->line, true, m);
    if (s->asks)
        s->ending = ENDED_BACK; // it is gone, or does not read, or there is no memory
}
