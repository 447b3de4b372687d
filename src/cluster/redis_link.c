// A connection for Redis. libcurl looks the name up, tries its addresses, and does TLS with all the
// checks of an https address (CURLOPT_CONNECT_ONLY); from then on bytes go to and fro.
#include "cluster/internal.h"
#include "notify/reason.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLICE_MS 50 // between two looks at the cancel flag

struct redis_link {
    CURLM *multi;
    CURL *easy;
    bool is_added;
    int fd; // the easy handle's
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_set_up(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static curl_socket_t open_socket(void *opaque, curlsocktype purpose, struct curl_sockaddr *address)
{
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

void redis_link_close(struct redis_link **link)
{
    struct redis_link *l = TAKE(*link);
    if (!l)
        return;
    if (l->is_added)
        curl_multi_remove_handle(l->multi, l->easy);
    curl_easy_cleanup(l->easy);
    curl_multi_cleanup(l->multi);
    free(l);
}

static enum kb_code check_file(const char *path, struct kb_error *err)
{
    if (path && access(path, R_OK) != 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the file '%s' that the address of Redis names cannot be read"), path);
    return KB_OK;
}

static enum kb_code set_up(struct redis_link *l, const struct redis_address *a, int timeout_ms,
                           struct kb_error *err)
{
    bool is_v6 = strchr(a->host, ':') != NULL;
    char url[400];
    snprintf(url, sizeof(url), "%s://%s%s%s:%d", a->tls ? "https" : "http", is_v6 ? "[" : "",
             a->host, is_v6 ? "]" : "", a->port);
    curl_easy_setopt(l->easy, CURLOPT_URL, url);
    curl_easy_setopt(l->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(l->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(l->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(l->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(l->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(l->easy, CURLOPT_QUICK_EXIT, 1L); // a thread that looks a name up ends alone
    curl_easy_setopt(l->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(l->easy, CURLOPT_SSL_ENABLE_ALPN, 0L); // it is not HTTP
    enum kb_code code = check_file(a->ca, err);
    if (code == KB_OK)
        code = check_file(a->cert, err);
    if (code == KB_OK)
        code = check_file(a->key, err);
    if (code != KB_OK)
        return code;
    if (a->ca) {
        curl_easy_setopt(l->easy, CURLOPT_CAINFO, a->ca);
        curl_easy_setopt(l->easy, CURLOPT_CAPATH, NULL); // that authority alone
    }
    if (a->cert) {
        curl_easy_setopt(l->easy, CURLOPT_SSLCERT, a->cert);
        curl_easy_setopt(l->easy, CURLOPT_SSLKEY, a->key ? a->key : a->cert);
    }
    return KB_OK;
}

static enum kb_code failed(CURLcode result, const struct redis_address *a, struct kb_error *err)
{
    bool is_ours = result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CERTPROBLEM ||
                   result == CURLE_SSL_CACERT_BADFILE;
    if (result == CURLE_SSL_CERTPROBLEM || result == CURLE_SSL_CACERT_BADFILE)
        return kb_fail(err, KB_BAD_INPUT,
                       _("Redis at %s: a file of the address (ca, cert, key) is no certificate or "
                         "key in PEM"),
                       a->place);
    return kb_fail(err, is_ours ? KB_BAD_INPUT : KB_UNAVAILABLE,
                   _("Redis at %s cannot be reached: %s"), a->place, transfer_reason(result));
}

static enum kb_code connect_it(struct redis_link *l, const struct redis_address *a,
                               const struct cancel *cancel, struct kb_error *err)
{
    int running = 1;
    while (running) {
        enum kb_code code = cancel_check(cancel, err);
        if (code != KB_OK)
            return code;
        if (curl_multi_perform(l->multi, &running) != CURLM_OK)
            return failed(CURLE_COULDNT_CONNECT, a, err);
        if (running)
            curl_multi_poll(l->multi, NULL, 0, SLICE_MS, NULL);
    }
    int n = 0;
    CURLcode result = CURLE_COULDNT_CONNECT;
    for (CURLMsg *m = curl_multi_info_read(l->multi, &n); m; m = curl_multi_info_read(l->multi, &n))
        if (m->msg == CURLMSG_DONE)
            result = m->data.result;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (result == CURLE_OK)
        result = curl_easy_getinfo(l->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (result == CURLE_OK && fd == CURL_SOCKET_BAD)
        result = CURLE_COULDNT_CONNECT;
    l->fd = fd;
    return result == CURLE_OK ? KB_OK : failed(result, a, err);
}

enum kb_code redis_link_open(struct redis_link **ret, const struct redis_address *a, int timeout_ms,
                             const struct cancel *cancel, struct kb_error *err)
{
    pthread_once(&curl_once, curl_set_up);
    CLEANUP(redis_link_close) struct redis_link *l = kb_alloc(sizeof(*l));
    l->multi = curl_multi_init();
    l->easy = curl_easy_init();
    if (!l->multi || !l->easy)
        abort(); // memory is out
    enum kb_code code = set_up(l, a, timeout_ms, err);
    if (code != KB_OK)
        return code;
    l->is_added = curl_multi_add_handle(l->multi, l->easy) == CURLM_OK;
    if (!l->is_added)
        abort();
    code = connect_it(l, a, cancel, err);
    if (code == KB_OK)
        *ret = TAKE(l);
    return code;
}

bool redis_link_send(struct redis_link *l, const void *data, size_t n, size_t *ret_n)
{
    *ret_n = 0;
    CURLcode result = curl_easy_send(l->easy, data, n, ret_n);
    return result == CURLE_OK || result == CURLE_AGAIN;
}

bool redis_link_receive(struct redis_link *l, void *data, size_t n, size_t *ret_n)
{
    *ret_n = 0;
    CURLcode result = curl_easy_recv(l->easy, data, n, ret_n);
    // Nothing, and no wish to be asked again: the other end has closed.
    return result == CURLE_AGAIN || (result == CURLE_OK && *ret_n > 0);
}

void redis_link_wait(struct redis_link *l, bool to_send, int ms)
{
    struct pollfd p = {.fd = l->fd, .events = (short)(POLLIN | (to_send ? POLLOUT : 0))};
    poll(&p, 1, KB_MIN(ms, SLICE_MS));
}
