// A Redis for a test: Debian's redis-server on a port of its own of 127.0.0.1, its folder below the
// temporary one, its data in memory alone. It ends with the test, whatever happens to that.
// Threads: the test's first.
#ifndef TESTS_CLUSTER_REDIS_SERVER_H
#define TESTS_CLUSTER_REDIS_SERVER_H

#include "tests/test.h"

#include <sys/types.h>

struct redis_server {
    char *folder;
    int port, tls_port; // tls_port: 0 = none
    pid_t pid;          // 0 = it does not run
    const char *extra[24];
};

// Is the program there? If not, SKIP_TEST().
bool redis_server_is_here(void);

// An empty one. extra: more arguments for it, ends with NULL; may be NULL. What it points to lasts
// as long as the server. With "--include", a file that must name a certificate, it has a tls_port.
// Fails the test if it does not answer.
void redis_server_start(struct redis_server *s, const char *const *extra);
// The same with a certificate for "localhost" and 127.0.0.1, made now: FOLDER/ca.pem,
// FOLDER/tls.pem (certificate and key). Clients need one if ask_clients, FOLDER/tls.pem will do.
void redis_server_start_tls(struct redis_server *s, bool ask_clients);
// kill -9, so that everything it knew is gone; and start it again, at the same port.
void redis_server_kill(struct redis_server *s);
void redis_server_again(struct redis_server *s);
void redis_server_stop(struct redis_server *s); // and remove its folder; zeroed is fine

// "redis://127.0.0.1:PORT", a new string; rest: behind it.
char *redis_server_url(const struct redis_server *s, const char *rest);

// A port of 127.0.0.1 on which nobody listens now.
int free_port(void);

#endif
