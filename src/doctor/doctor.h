// Looks where a person who knows koubo would look, and says what to do: for the command and the
// page. Thread-safe; it takes seconds (it writes a file, loads the models and asks the server), so
// not on a network thread. Sentences are in the language of the thread.
#ifndef DOCTOR_DOCTOR_H
#define DOCTOR_DOCTOR_H

#include "base/base.h"
#include "base/text.h"

enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_PROBLEM };

struct finding {
    const char *name;   // for programs: "disk"
    const char *title;  // for people
    char *text;         // what was seen
    const char *advice; // what to do, or NULL
    enum finding_level level;
};

struct doctor {
    const char *data; // the data folder; borrowed
    int port;         // to look at when no server says its own
    // Of many machines, all NULL = there are none, or only what the data folder knows of them.
    const char *redis;       // address, cluster/redis.h
    const char *depot;       // address, cluster/depot.h; the head's own of a machine: "http://…"
    const char *credentials; // of an S3 depot
    bool is_machine;         // not a server's folder but koubo node's; found out if it is there
    bool is_head; // Redis's user must be the head's; found out if the folder has machines
    // What was found; release with doctor_clear().
    struct finding *findings;
    int n_findings;
};

void doctor_look(struct doctor *d);
void doctor_clear(struct doctor *d);

enum finding_level doctor_level(const struct doctor *d); // of the worst finding
char *doctor_verdict(const struct doctor *d);            // one sentence, a new string
// {"verdict":{"level","text"},"checks":[{"name","title","level","text","advice"}]}
// (docs/openapi.yaml: Doctor). Levels are "ok", "warning", "problem".
void doctor_json(const struct doctor *d, struct text *ret);

#endif
