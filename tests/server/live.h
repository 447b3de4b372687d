// The whole application in the test process, without workers: tests play them through
// queue/lease.h.
#ifndef TESTS_SERVER_LIVE_H
#define TESTS_SERVER_LIVE_H

#include "tests/server/site.h"

struct live {
    struct site site; // folder, the test's own store, port; its own server is not started
    struct server *app;
};

// params.data, port and workers are filled in; the rest is the test's.
void live_start(struct live *l, const struct server_params *params);
// Stop and start the server, the folder stays.
void live_restart(struct live *l, const struct server_params *params);
void live_stop(struct live *l);

// The same as cmocka's set-up and tear-down: *state is a struct live with usual parameters.
int live_setup(void **state);
int live_teardown(void **state);

// A path with a number in it; one of a few static buffers.
const char *live_path(const char *fmt, int64_t id);

// A request; body is JSON or NULL. The status must be wanted. The answer as JSON, NULL if it has no
// body; json_decref it.
json_t *live_ask(struct live *l, int wanted, const char *method, const char *path,
                 const char *body);
// The same for a problem: its detail must contain part, its code must be code.
void live_refuses(struct live *l, int wanted, const char *code, const char *part,
                  const char *method, const char *path, const char *body);

// The text or number at a path such as "items.0.name"; fails when it is not there.
const char *text_at(json_t *json, const char *path);
json_int_t number_at(json_t *json, const char *path);

// A tiny file server on loopback, one thread, until source_stop().
//   /file.wav 1000 bytes "x"; /old redirects there; /loop to itself; /missing 404; /empty 0 bytes;
//   /big 64 KiB; /slow sends one byte and then nothing; /jump/ADDRESS redirects to ADDRESS
struct source;
struct source *source_start(int *ret_port);
void source_stop(struct source **s);

#endif
