// Downloads the addresses that users gave instead of files, sends notices that are due, and puts
// results of the Duix API into the shared folder. Two threads of its own.
#ifndef SERVER_COURIER_H
#define SERVER_COURIER_H

#include "base/base.h"

struct courier;
struct server;

// Reads s->params and s->base_url, which must not change from now on. An asset whose download was
// under way when an earlier server ended is fetched again from its beginning.
enum kb_code courier_start(struct courier **ret, struct server *s, struct kb_error *err);
// Breaks off what is under way (it is done again by the next server). NULL is fine.
void courier_stop(struct courier **f);

#endif
