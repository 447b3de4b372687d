// Files are hashed by a thread, one at a time: a large one takes longer than the head may be deaf.
#include "cluster/head_parts.h"

#include "cluster/model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hasher {
    pthread_t thread;
    char *key; // the path of a file, or the options that name a model
    int fd;    // of the file; -1: a model
    atomic_bool is_over;
    // --- once it is over
    enum kb_code code;
    struct kb_error err;
    char sha256[65];
};

static void *hasher_run(void *opaque)
{
    struct hasher *w = opaque;
    struct model_file m = {0};
    if (w->fd >= 0)
        w->code = model_hash(w->sha256, w->fd, w->key, &w->err);
    else
        w->code = model_of_options(&m, w->key, &w->err); // which keeps it in mind
    model_file_free(&m);
    atomic_store(&w->is_over, true);
    return NULL;
}

static void hasher_free(struct hasher *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->key);
    free(w);
}

void head_hasher_stop(struct head *h)
{
    struct hasher *w = TAKE(h->hasher);
    if (!w)
        return;
    pthread_join(w->thread, NULL);
    hasher_free(w);
}

enum kb_code head_hash(struct head *h, const char *key, int fd, char ret[65], struct kb_error *err)
{
    struct hasher *w = h->hasher;
    bool is_over = w && atomic_load(&w->is_over);
    if (is_over && strcmp(w->key, key) == 0) {
        enum kb_code code = w->code;
        *err = w->err;
        memcpy(ret, w->sha256, sizeof(w->sha256));
        head_hasher_stop(h);
        if (fd >= 0)
            close(fd);
        return code;
    }
    if (is_over) // nobody asks for that any more, or asks again
        head_hasher_stop(h);
    if (h->hasher) {
        if (fd >= 0)
            close(fd);
        return KB_EOF;
    }
    w = kb_alloc(sizeof(*w));
    w->key = kb_strdup(key);
    w->fd = fd;
    if (pthread_create(&w->thread, NULL, hasher_run, w) == 0)
        h->hasher = w;
    else
        hasher_free(w); // memory is short: later
    return KB_EOF;
}
