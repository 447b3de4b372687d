#include "server/upload/transfer.h"

#include <stdlib.h>
#include <string.h>

struct transfers {
    pthread_mutex_t lock; // before a transfer's
    struct transfer *first;
};

struct transfers *transfers_create(void)
{
    struct transfers *all = kb_alloc(sizeof(*all));
    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void transfers_free(struct transfers **pointer)
{
    struct transfers *all = TAKE(*pointer);
    if (!all)
        return;
    pthread_mutex_destroy(&all->lock);
    free(all);
}

struct transfer *transfer_create(void)
{
    struct transfer *t = kb_alloc(sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void transfer_enter(struct transfer *t, struct transfers *all)
{
    pthread_mutex_lock(&all->lock);
    t->all = all;
    t->next = all->first;
    t->link = &all->first;
    if (t->next)
        t->next->link = &t->next;
    all->first = t;
    pthread_mutex_unlock(&all->lock);
}

void transfer_leave(struct transfer *t)
{
    struct transfers *all = TAKE(t->all);
    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    pthread_mutex_unlock(&all->lock);
}

void transfer_free(struct transfer **pointer)
{
    struct transfer *t = TAKE(*pointer);
    if (!t)
        return;
    transfer_leave(t);
    pthread_mutex_destroy(&t->lock);
    EVP_MD_CTX_free(t->digest);
    free(t);
}

struct asset_upload *transfers_take_over(struct transfers *all, const char *id)
{
    struct asset_upload *u = NULL;
    pthread_mutex_lock(&all->lock);
    for (struct transfer *t = all->first; t && !u; t = t->next) {
        if (strcmp(t->id, id) != 0)
            continue;
        pthread_mutex_lock(&t->lock);
        if (t->upload && t->digest && asset_upload_truncate(t->upload, t->start, NULL) != KB_OK) {
            pthread_mutex_unlock(&t->lock);
            break;
        }
        t->taken = t->taken || t->upload;
        u = TAKE(t->upload);
        pthread_mutex_unlock(&t->lock);
    }
    pthread_mutex_unlock(&all->lock);
    return u;
}

enum kb_code transfers_hold(struct transfers *all, struct store *s, const char *id,
                            struct asset_upload **ret, struct kb_error *err)
{
    struct asset_upload *taken = NULL;
    enum kb_code code = asset_upload_open(ret, s, id, err);
    if (code == KB_UNAVAILABLE)
        taken = transfers_take_over(all, id);
    if (!taken)
        return code;
    *ret = taken;
    return KB_OK;
}

int64_t transfers_sent(struct transfers *all, const char *id)
{
    int64_t offset = -1;
    pthread_mutex_lock(&all->lock);
    for (struct transfer *t = all->first; t && offset < 0; t = t->next) {
        if (strcmp(t->id, id) != 0)
            continue;
        pthread_mutex_lock(&t->lock);
        if (t->upload)
            offset = t->digest ? t->start : asset_upload_offset(t->upload);
        pthread_mutex_unlock(&t->lock);
    }
    pthread_mutex_unlock(&all->lock);
    return offset;
}
