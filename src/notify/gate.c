#include "notify/gate.h"

#include <sys/socket.h>

static curl_socket_t open_socket(void *opaque, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct gate *g = opaque;
    (void)purpose;
    g->refused[0] = '\0'; // libcurl goes on to the name's next address
    if (!guard_lets(g->guard, &address->addr, &g->place)) {
        guard_text(g->refused, &address->addr);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

void gate_set(CURL *c, struct gate *g)
{
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, g);
}

enum kb_code gate_check(const struct gate *g, struct kb_error *err)
{
    return g->refused[0] ? guard_refuse(g->place, g->refused, err) : KB_OK;
}
