// The listeners of events.c, for the route in api/events.c alone.
//
//   listener_create ─► listener_greet ─► reply_stream(listener_read, listener_leave) ─►
//   listener_join ─► listener_unref
// Threads: on the network thread of the request.
// listener_read and listener_leave: on any, one at a time.
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include "http/http.h"

struct events;
struct store;
struct listener;

// Takes its place in the ring: nothing that is told from now on is missed. The caller's reference.
struct listener *listener_create(struct events *e, enum kb_language language);
// What it gets first: all changes after revision since (-1 = none of the past) and a heartbeat.
enum kb_code listener_greet(struct listener *l, struct store *s, int64_t since,
                            struct kb_error *err);
// A second reference, which listener_leave() gives back; where reply_stream() puts the stream.
struct stream **listener_stream(struct listener *l);
// From now on it is woken.
void listener_join(struct listener *l);
void listener_unref(struct listener *l);

int64_t listener_read(void *listener, char *buffer, size_t max); // stream_read_fn
void listener_leave(void *listener);                             // stream_free_fn

#endif
