#include "doctor/internal.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES 1000

static const char *const level_names[] = {"ok", "warning", "problem"};

void doctor_add(struct doctor *d, const char *name, const char *title, enum finding_level level,
                const char *advice, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct finding *more =
        reallocarray(d->findings, (size_t)d->n_findings + 1, sizeof(struct finding));
    if (!more)
        abort();
    d->findings = more;
    d->findings[d->n_findings++] = (struct finding){
        .name = name, .title = title, .text = kb_strdup(text), .advice = advice, .level = level};
}

void doctor_look(struct doctor *d)
{
    doctor_look_at_server(d);
    doctor_look_at_cluster(d);
    doctor_look_at_machine(d);
    doctor_look_at_cage(d);
    doctor_look_at_parts(d);
}

void doctor_clear(struct doctor *d)
{
    for (int i = 0; i < d->n_findings; i++)
        free(d->findings[i].text);
    free(d->findings);
    d->findings = NULL;
    d->n_findings = 0;
}

// The first of the worst level, NULL if nothing was looked at.
static const struct finding *worst(const struct doctor *d)
{
    const struct finding *ret = NULL;
    for (int i = 0; i < d->n_findings; i++)
        if (!ret || d->findings[i].level > ret->level)
            ret = &d->findings[i];
    return ret;
}

enum finding_level doctor_level(const struct doctor *d)
{
    const struct finding *f = worst(d);
    return f ? f->level : FINDING_OK;
}

char *doctor_verdict(const struct doctor *d)
{
    const struct finding *f = worst(d);
    const char *what = f ? f->advice ? f->advice : f->text : "";
    switch (doctor_level(d)) {
    case FINDING_PROBLEM:
        return kb_printf(_("There is a problem. First: %s"), what);
    case FINDING_WARNING:
        return kb_printf(_("It works, with something to look at: %s"), what);
    case FINDING_OK:
        break;
    }
    return kb_strdup(_("All is well."));
}

void doctor_json(const struct doctor *d, struct text *ret)
{
    CLEANUP(kb_freep) char *sentence = doctor_verdict(d);
    json_t *checks = json_array();
    for (int i = 0; i < d->n_findings; i++) {
        const struct finding *f = &d->findings[i];
        json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s, s:s?}", "name", f->name,
                                                "title", f->title, "level", level_names[f->level],
                                                "text", f->text, "advice", f->advice));
    }
    json_t *all = json_pack("{s:{s:s, s:s}, s:o}", "verdict", "level", level_names[doctor_level(d)],
                            "text", sentence, "checks", checks);
    CLEANUP(kb_freep) char *json = json_dumps(all, JSON_INDENT(2));
    text_add(ret, json);
    json_decref(all);
}
