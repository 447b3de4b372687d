// Has the texts spoken whose voice is a service or a program (voices/voices.h): threads that ask,
// one at a time for each voice. What comes is only kept; an inspector in its cage decodes it.
#ifndef SERVER_SPEAKER_H
#define SERVER_SPEAKER_H

#include "base/base.h"

struct speaker;
struct server;

// Reads s->params, which must not change from now on. A text that was being asked for when an
// earlier server ended is asked for again from its beginning.
enum kb_code speaker_start(struct speaker **ret, struct server *s, struct kb_error *err);
// There is a text to speak: whoever waits to hear it need not wait for the next look at the table.
// Any thread; NULL is fine.
void speaker_wake(struct speaker *s);
// Breaks off what is under way. NULL is fine.
void speaker_stop(struct speaker **s);

#endif
