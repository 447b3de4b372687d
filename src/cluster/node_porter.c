// The threads that move files between the depot and this machine. Each has a store and a depot of
// its own. What one is to do it finds in the list of duties; how it went it writes there.
#include "cluster/node_internal.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "base/beneath.h"
#include "base/bytes.h"
#include "base/deadline.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#define LOOK_MS    500
#define LOOK_BYTES (16 << 20) // after which the disk is looked at
#define READ_BYTES (1 << 20)

struct porter {
    struct machine *m;
    const char **carrying; // its place in m->carrying
    struct store *store;
    struct depot *depot;
    struct cancel cancel;  // its parent is the duty's
    struct duty *duty;     // that it has
    const char *bad;       // a content that came as something else
    int64_t before, total; // bytes of the files before this one; of all
};

// --- what the depot asks

static void tell_pulse(void *opaque, char ret[WIRE_NONCE_BYTES])
{
    struct porter *p = opaque;
    pthread_mutex_lock(&p->m->lock);
    memcpy(ret, p->m->pulse, WIRE_NONCE_BYTES);
    pthread_mutex_unlock(&p->m->lock);
}

static void tell_progress(void *opaque, int64_t done, int64_t total)
{
    struct porter *p = opaque;
    struct duty *d = p->duty;
    (void)total;
    pthread_mutex_lock(&p->m->lock);
    if (d) {
        // What has to come once more, as it was wrong or got lost, is nothing new.
        d->carried_on = d->carried_on || p->before + done > d->most;
        d->most = KB_MAX(d->most, p->before + done);
        d->report.done = p->before + done;
        d->report.total = p->total;
    }
    pthread_mutex_unlock(&p->m->lock);
}

static enum kb_code open_depot(struct porter *p, struct kb_error *err)
{
    const struct node_params *n = p->m->params;
    struct depot_params dp = {.address = n->depot,
                              .credentials = n->credentials,
                              .side = DEPOT_NODE,
                              .node = n->name,
                              .secret = n->secret,
                              .pulse = tell_pulse,
                              .ctx = p,
                              .cancel = &p->cancel,
                              .progress = tell_progress};
    return p->depot ? KB_OK : depot_open(&p->depot, &dp, err);
}

// --- fetching

struct arrival {
    struct porter *p;
    struct asset_upload *upload;
    int64_t looked; // bytes since the disk was looked at
    enum kb_code code;
};

static enum kb_code check_room(struct porter *p, int64_t more, struct kb_error *err)
{
    int64_t min_free = p->m->params->supervisor.worker.min_free_bytes;
    if (copies_free_bytes(p->m->data) - more >= min_free)
        return KB_OK;
    return kb_fail(err, KB_NO_SPACE,
                   _("this machine's disk has no room for the files of the job; remove something, "
                     "or let the machine leave less free (--min-free)"));
}

static enum kb_code arrive(void *opaque, const void *data, size_t n, struct kb_error *err)
{
    struct arrival *a = opaque;
    a->looked += (int64_t)n;
    a->code = a->looked > LOOK_BYTES ? check_room(a->p, 0, err) : KB_OK;
    if (a->looked > LOOK_BYTES)
        a->looked = 0;
    if (a->code == KB_OK)
        a->code = asset_upload_write(a->upload, data, n, err);
    return a->code;
}

static enum kb_code fetch(struct porter *p, const struct duty_file *f, struct kb_error *err)
{
    char id[33];
    struct arrival a = {.p = p};
    struct kb_error why = {0};
    enum kb_code code = open_depot(p, err);
    if (code == KB_OK)
        code = copies_begin(p->store, f, id, err);
    if (code == KB_OK)
        code = asset_upload_open(&a.upload, p->store, id, err);
    if (code != KB_OK)
        return code;
    int64_t offset = asset_upload_offset(a.upload), came = offset;
    asset_upload_expect(a.upload, f->sha256);
    code = check_room(p, f->size - offset, &why);
    if (code == KB_OK && offset < f->size)
        code = depot_get(p->depot, f->sha256, f->size, offset, arrive, &a, &came, &why);
    if (a.code != KB_OK)
        code = a.code;
    // What has come stays, whatever happened.
    enum kb_code closed = asset_upload_close(&a.upload, p->store, false, NULL, err);
    if (code == KB_OK && closed == KB_BAD_INPUT)
        p->bad = f->sha256;
    if (code != KB_OK && err)
        *err = why;
    return code == KB_OK ? closed : code;
}

static bool is_carried(const struct machine *m, const char *sha256)
{
    bool carried = false;
    for (int i = 0; i < MACHINE_PORTERS && sha256; i++)
        carried = carried || (m->carrying[i] && strcmp(m->carrying[i], sha256) == 0);
    return carried;
}

// One content is fetched by one porter at a time. False: another is at it, and d waits for that.
static bool claim_content(struct porter *p, struct duty *d, const char *sha256)
{
    struct machine *m = p->m;
    pthread_mutex_lock(&m->lock);
    bool theirs = is_carried(m, sha256);
    if (theirs)
        d->awaits = sha256;
    else
        *p->carrying = sha256;
    pthread_mutex_unlock(&m->lock);
    return !theirs;
}

static void release_content(struct porter *p)
{
    pthread_mutex_lock(&p->m->lock);
    *p->carrying = NULL;
    pthread_cond_broadcast(&p->m->errand);
    pthread_mutex_unlock(&p->m->lock);
}

// KB_EOF: somebody else fetches what is next.
static enum kb_code fetch_all(struct porter *p, struct duty *d, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    p->before = p->total = 0;
    for (int i = 0; i < d->n_files; i++)
        p->total += d->files[i].size;
    for (int i = 0; code == KB_OK && i < d->n_files; i++) {
        const struct duty_file *f = &d->files[i];
        char id[33];
        if (!claim_content(p, d, f->sha256))
            return KB_EOF;
        code = cancel_check(&p->cancel, err);
        if (code == KB_OK)
            code = copies_find(p->store, f->sha256, f->size, id, NULL);
        if (code == KB_NOT_FOUND)
            code = fetch(p, f, err);
        release_content(p);
        p->before += f->size;
        if (code == KB_OK)
            tell_progress(p, 0, 0);
    }
    return code;
}

// --- sending

static enum kb_code hash_file(struct porter *p, int fd, char ret[65], int64_t *ret_size,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) unsigned char *buffer = kb_alloc(READ_BYTES);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
        abort(); // memory is out
    enum kb_code code = KB_OK;
    *ret_size = 0;
    while (code == KB_OK) {
        ssize_t n = pread(fd, buffer, READ_BYTES, *ret_size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            code = kb_fail(err, KB_INTERNAL, _("cannot read the file: %s"), kb_strerror(errno));
        if (n <= 0)
            break;
        EVP_DigestUpdate(c, buffer, (size_t)n);
        *ret_size += n;
        code = cancel_check(&p->cancel, err);
    }
    EVP_DigestFinal_ex(c, digest, &n_digest);
    EVP_MD_CTX_free(c);
    bytes_hex(ret, digest, n_digest);
    return code;
}

static enum kb_code send_open(struct porter *p, struct duty *d, int fd, struct kb_error *err)
{
    char sha256[65];
    struct depot_put put = {.sha256 = sha256, .fd = fd, .job = d->job, .lease = d->lease};
    enum kb_code code = hash_file(p, fd, sha256, &put.size, err);
    if (code != KB_OK)
        return code;
    pthread_mutex_lock(&p->m->lock);
    memcpy(d->sha256, sha256, sizeof(d->sha256));
    d->size = put.size;
    d->report = (struct job_report){.stage = STAGE_FINISHING, .total = put.size};
    pthread_mutex_unlock(&p->m->lock);
    p->before = 0;
    p->total = put.size;
    return depot_put(p->depot, &put, err);
}

// KB_EOF: the file is not here any more.
static enum kb_code send_result(struct porter *p, struct duty *d, struct kb_error *err)
{
    int fd = beneath_open(p->m->data, d->result, O_RDONLY, 0);
    if (fd < 0)
        return beneath_is_gone(errno) ? KB_EOF
                                      : kb_fail(err, KB_UNAVAILABLE, _("cannot open '%s': %s"),
                                                d->result, beneath_reason(errno));
    enum kb_code code = open_depot(p, err);
    if (code == KB_OK)
        code = send_open(p, d, fd, err);
    close(fd);
    return code;
}

// --- the thread

// The oldest; what is made goes before what is to be made.
static struct duty *next_duty(struct machine *m)
{
    struct duty *found = NULL;
    for (struct duty *d = m->duties; d; d = d->next) // which begins with the youngest
        if (d->wanted && !d->carried && !is_carried(m, d->awaits) &&
            (!found || found->errand != DUTY_SENDING || d->errand == DUTY_SENDING))
            found = d;
    return found;
}

static struct duty *take_duty(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    struct duty *d = next_duty(m);
    if (!d && !cancel_requested(&m->stop)) {
        struct timespec end = deadline_in(LOOK_MS);
        pthread_cond_timedwait(&m->errand, &m->lock, &end);
        d = next_duty(m);
    }
    if (d) {
        d->carried = true;
        d->wanted = false;
        d->awaits = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    return d;
}

static void carry(struct porter *p, struct duty *d, enum duty_state state)
{
    struct machine *m = p->m;
    struct kb_error err = {0};
    p->duty = d;
    p->bad = NULL;
    p->cancel.parent = &d->stop;
    enum kb_code code = p->store ? KB_OK : store_open(&p->store, m->data, false, &err);
    if (code == KB_OK)
        code = state == DUTY_FETCHING ? fetch_all(p, d, &err) : send_result(p, d, &err);
    p->duty = NULL;
    p->cancel.parent = &m->stop;
    if (code == KB_UNAVAILABLE || code == KB_BAD_INPUT)
        depot_close(&p->depot); // begin anew, should its credentials be others by then
    pthread_mutex_lock(&m->lock);
    d->carried = false;
    d->wanted = code == KB_EOF && d->awaits; // once more, when that has come
    d->outcome = code == KB_EOF && !d->awaits ? KB_NOT_FOUND : code;
    d->trouble = err;
    d->came_bad = p->bad;
    pthread_cond_signal(&m->stir);
    pthread_mutex_unlock(&m->lock);
}

void *machine_porter(void *opaque)
{
    struct machine *m = opaque;
    struct porter p = {.m = m, .cancel = {.parent = &m->stop}};
    pthread_mutex_lock(&m->lock);
    p.carrying = &m->carrying[m->n_porters++];
    pthread_mutex_unlock(&m->lock);
    while (!cancel_requested(&m->stop)) {
        struct duty *d = take_duty(m);
        if (d)
            carry(&p, d, d->errand);
    }
    depot_close(&p.depot);
    store_close(&p.store);
    return NULL;
}
