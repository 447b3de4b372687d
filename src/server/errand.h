// Answers that take longer than a network thread may wait: each is worked out on a thread of its
// own while the connection sleeps.
#ifndef SERVER_ERRAND_H
#define SERVER_ERRAND_H

#include "base/cancel.h"
#include "base/text.h"
#include "http/http.h"

struct errands;
struct errand; // one of them: a thread that waits for its work

// Works the body of the answer out; one that stays empty breaks the answer off, whose status was
// told already: let work say why in the log. Speaks the language of the request. ctx holds all that
// it needs: an errand that does not end in time is left to itself when the server stops, so it must
// not reach into struct server. cancel is raised then.
typedef void errand_fn(void *ctx, const struct cancel *cancel, struct text *ret);

struct errands *errands_create(void);
// Answers 200 with JSON when work has returned; free_ctx(ctx) afterwards in any case. At most 64 at
// a time, else, or where no thread can be started, 503.
void reply_errand(struct request *r, struct errands *e, errand_fn *work, void (*free_ctx)(void *),
                  void *ctx);
// The same without an answer, for what must not be lost only because the database is locked now.
// False: there is no place or no thread, ctx was freed.
bool errands_run(struct errands *e, errand_fn *work, void (*free_ctx)(void *), void *ctx);
// reply_errand() in two steps, for who must know that it can be done before he changes anything: a
// place among the 64 with its thread (NULL: there is none, or the server is ending), then either of
// the others.
struct errand *errand_enter(struct errands *e);
void errand_leave(struct errand *a);
void reply_errand_entered(struct request *r, struct errand *a, errand_fn *work,
                          void (*free_ctx)(void *), void *ctx);
// No new ones; raise cancel, wait at most wait_ms. After http_stop().
void errands_stop(struct errands **e, int wait_ms);

#endif
