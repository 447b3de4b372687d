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
// Joins the thread and ends all streams; waits at most a second for clients to take the end. Before
// http_stop(), which cuts off what has not ended. Requests may still come: their streams end at
// once.
void events_end(struct events *e);
// The same if that was not done, and releases it: after http_stop(). NULL is fine.
void events_stop(struct events **e);

int events_listeners(struct events *e);

#endif
