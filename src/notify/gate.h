// A transfer of libcurl that goes only where the guard (base/guard.h) lets it.
// Threads: as the transfer's.
#ifndef NOTIFY_GATE_H
#define NOTIFY_GATE_H

#include "base/guard.h"

#include <curl/curl.h>

// What guards one transfer; lives as long as it.
struct gate {
    const struct guard *guard;
    // Where it was not let to when it last tried to connect; "" = nothing was refused.
    char refused[GUARD_TEXT_BYTES];
    enum guard_place place;
};

// Every connection of c is judged, those after redirects, too. c must use no proxy unless the guard
// is trusting: a proxy would resolve names where they cannot be judged.
void gate_set(CURL *c, struct gate *g);
// Fail with the sentence of what was refused; KB_OK if nothing was.
enum kb_code gate_check(const struct gate *g, struct kb_error *err);

#endif
