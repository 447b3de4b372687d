// What the parts of koubo doctor share: a list of findings, each a check with its outcome.
// Main thread only.
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "base/base.h"

#include <jansson.h>

enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_PROBLEM };

struct doctor {
    char *data;       // the data folder
    int port;         // to look at when no server says its own
    json_t *findings; // array of {"name","title","level","text","advice"}
    enum finding_level worst;
    char *worst_advice; // of the first finding of the worst level
};

// title, text and advice are sentences for people; advice may be NULL.
void doctor_add(struct doctor *d, const char *name, const char *title, enum finding_level level,
                const char *advice, const char *fmt, ...) KB_PRINTF(6, 7);

// Each looks at one side of things and adds its findings.
void doctor_look_at_server(struct doctor *d);  // port, database, log, workers, jobs
void doctor_look_at_machine(struct doctor *d); // processor, memory, GPU, disk, cage
void doctor_look_at_parts(struct doctor *d);   // models, FFmpeg's codecs, speech

#endif
