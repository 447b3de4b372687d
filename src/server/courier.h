// Downloads the addresses that users gave instead of files, sends notices that are due, and puts
// results of the Duix API into the shared folder. Two threads of its own.
#ifndef SERVER_COURIER_H
#define SERVER_COURIER_H

#include "base/base.h"

struct courier;
struct server;

// Without its thread yet, so that requests can already wake it.
struct courier *courier_create(struct server *s);
// Reads s->params and s->base_url, which must not change from now on. An asset whose download was
// under way when an earlier server ended is fetched again from its beginning.
enum kb_code courier_start(struct courier *f, struct kb_error *err);
// Look at once: an asset to fetch was made. Any thread; NULL is fine.
void courier_wake(struct courier *f);
// Breaks off what is under way (it is done again by the next server). Started or not.
void courier_stop(struct courier **f);

#endif
