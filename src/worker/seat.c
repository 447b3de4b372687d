// What a worker says, checked: it must be one of a few things, of what it has, in its range.
#include "worker/internal.h"

#include "media/cues.h"

#include "base/log.h"
#include "nn/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_A_SECOND  32768 // bytes of a worker's lines that are kept
#define LINE_OVERHEAD 64    // time, level and so on

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static bool hear_row(struct seat *s, const json_t *m)
{
    static const char *const states[] = {"starting", "idle", "busy", NULL};
    const char *state, *model = NULL, *precision = NULL;
    enum precision known;
    json_int_t rss;
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s:s, s?:s, s?:s, s:I}", "is",
                       &(const char *){0}, "state", &state, "model", &model, "precision",
                       &precision, "rss", &rss) != 0 ||
        !is_one_of(state, states) || (model && strlen(model) >= sizeof(s->model)) ||
        (precision && !precision_parse(precision, &known)) || rss < 0)
        return false;
    if (strcmp(s->state, "starting") == 0)
        s->free_us = kb_now_us();
    snprintf(s->state, sizeof(s->state), "%s", state);
    snprintf(s->model, sizeof(s->model), "%s", model ? model : "");
    snprintf(s->precision, sizeof(s->precision), "%s", precision ? precision : "");
    s->rss_bytes = rss;
    s->row_new = true;
    return true;
}

// A worker that talks without end loses lines, and nobody else does.
static bool hear_line(struct seat *s, const json_t *m)
{
    int level;
    const char *text;
    if (json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s:i, s:s}", "is", &(const char *){0},
                       "level", &level, "text", &text) != 0 ||
        level < LOG_ERROR || level > LOG_DEBUG)
        return false;
    int64_t now = kb_now_us();
    if (now - s->lines_us > 1000000) {
        s->lines_us = now;
        s->log_bytes = 0;
    }
    s->log_bytes += strlen(text) + LINE_OVERHEAD;
    if (s->log_bytes <= LOG_A_SECOND)
        log_line_of(s->worker, s->has_job ? s->claim.job : 0, (enum log_level)level, text);
    return true;
}

bool seat_hear(struct seat *s, const json_t *m)
{
    const char *is = line_is(m);
    if (strcmp(is, "worker") == 0)
        return hear_row(s, m);
    if (strcmp(is, "log") == 0)
        return hear_line(s, m);
    if (strcmp(is, "next") == 0) {
        s->asks = true;
        return true;
    }
    if (s->ending || s->asks) // it has nothing any more of which it could speak
        return false;
    return s->inspect ? s->has_asset && seat_hear_asset(s, is, m)
                      : s->has_job && seat_hear_job(s, is, m);
}

bool seat_hear_cues(struct seat *s, const json_t *m)
{
    json_t *list;
    return json_unpack_ex((json_t *)m, NULL, JSON_STRICT, "{s:s, s:o}", "is", &(const char *){0},
                          "cues", &list) == 0 &&
           cues_unpack(&s->cues, list);
}

void seat_drop(struct seat *s)
{
    harvest_cancel(s);
    if (s->has_job && !s->preview[0]) // what is to be previewed is not ours
        job_claim_free(&s->claim);
    s->preview[0] = '\0';
    s->has_job = s->has_asset = s->report_new = s->told = s->moved = s->picture = false;
    words_free(&s->words);
    subtitle_track_clear(&s->cues);
    s->ending = NOT_ENDED;
    s->free_us = kb_now_us();
    s->why = (struct kb_error){0};
}
