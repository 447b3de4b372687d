// Everything that changes, told to every page that listens (server-sent events).
//
// One thread polls the database, writes each change once and hands it to all listeners through a
// ring; the network threads only copy bytes. docs/openapi.yaml has the format of the stream.
#ifndef SERVER_EVENTS_H
#define SERVER_EVENTS_H

#include "base/base.h"

struct events;
struct server;

// Starts the thread. It has a connection to the store of s->params.data, which must exist.
enum kb_code events_start(struct events **ret, struct server *s, struct kb_error *err);
// Ends all streams cleanly and joins the thread. Before or after http_stop().
void events_stop(struct events **e);

int events_listeners(struct events *e);

#endif
