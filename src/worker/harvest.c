// What lies in a worker's folder, and where it goes. The worker may write there while this is done,
// and rename and remove as it likes, but make no links; so each thing is taken by its name, which
// is the server's, and is taken only if it is a regular file that has no other name.
#include "worker/internal.h"

#include "base/beneath.h"
#include "base/cache.h"
#include "base/file.h"
#include "base/text.h"
#include "queue/options.h"
#include "store/names.h"
#include "store/privacy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_DIGITS 32 // of the hash that a track or a network is called after

static const char *const track_tails[] = {".kbt", "-deep.kbt", "-look.kbt", "-deep-look.kbt",
                                          ".kbs"};

static bool has_key(const char *name)
{
    return strspn(name, "0123456789abcdef") >= KEY_DIGITS;
}

// See lips_tuning_path().
static bool is_tuning(const char *name)
{
    return strncmp(name, "tuning-", 7) == 0 && text_ends(name, ".json");
}

// --- the folder

enum kb_code harvest_clear(const char *data, const char *folder, struct kb_error *err)
{
    DIR *d = beneath_make_dirs(data, folder, 0700) ? beneath_list(data, folder) : NULL;
    if (!d)
        return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("the folder '%s/%s' of a worker cannot be made: %s; check the disk and "
                         "its permissions"),
                       data, folder, beneath_reason(errno));
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_type != DT_DIR) // no worker can make one
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return KB_OK;
}

void harvest_places(const char *data, const char *folder, struct places *ret)
{
    const char *const names[N_PLACES] = {folder, "files", "tracks", "networks"};
    *ret = (struct places){0};
    for (int i = 0; i < N_PLACES; i++) {
        struct stat st;
        if (beneath_make_dirs(data, names[i], 0700) && beneath_stat(data, names[i], &st)) {
            ret->device[i] = st.st_dev;
            ret->number[i] = st.st_ino;
        }
    }
}

static void lend(const struct seat *s, const char *data, const char *cache, const char *name)
{
    CLEANUP(kb_freep) char *from = kb_printf("%s/%s", cache, name);
    CLEANUP(kb_freep) char *to = kb_printf("%s/%s/%s", data, s->folder, name);
    CLEANUP(kb_freep) char *target = kb_printf("../../%s", from);
    int fd = beneath_open(data, from, O_RDONLY, 0);
    if (fd < 0)
        return;
    futimens(fd, NULL); // the last used goes last
    close(fd);
    if (symlink(target, to) != 0 && errno != EEXIST)
        return; // it is made anew
}

// The films of its job that have tracks. Returns how many.
static int list_films(const struct job_claim *c, const char *ret[1 + MATERIAL_MOST])
{
    int n = 0;
    ret[n++] = c->video_sha256;
    for (int i = 0; i < c->n_materials; i++)
        if (c->materials[i].role->key && c->materials[i].path)
            ret[n++] = c->materials[i].sha256;
    return n;
}

void harvest_lend(const struct seat *s, const char *data)
{
    const char *films[1 + MATERIAL_MOST];
    int n = list_films(&s->claim, films);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(track_tails); k++) {
            CLEANUP(kb_freep)
            char *name = kb_printf("%.*s%s", KEY_DIGITS, films[i], track_tails[k]);
            lend(s, data, "tracks", name);
        }
    DIR *d = beneath_list(data, "networks");
    for (struct dirent *e; d && (e = readdir(d));)
        if ((has_key(e->d_name) && !text_ends(e->d_name, ".part")) || is_tuning(e->d_name))
            lend(s, data, "networks", e->d_name);
    if (d)
        closedir(d);
}

// --- moving

static char *made_by(const struct seat *s, const char *tail)
{
    return kb_printf("%s/%s%s", s->folder, s->file, tail);
}

// The size of a file of the worker's alone, else -1.
static int64_t own_size(const char *data, const char *path)
{
    struct stat st;
    return beneath_stat(data, path, &st) && S_ISREG(st.st_mode) && st.st_nlink == 1
               ? (int64_t)st.st_size
               : -1;
}

// Onto another disk: under the part's name until it is whole. Its mode goes along, as with a link.
static bool copy(const char *data, const char *from, const char *to, const struct cancel *cancel)
{
    CLEANUP(kb_freep) char *part = file_part_path(to, 0);
    struct stat st;
    int in = beneath_open(data, from, O_RDONLY, 0);
    int out = in >= 0 ? beneath_open(data, part, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    bool ok = out >= 0 && fstat(in, &st) == 0 && file_copy(out, in, st.st_size, cancel) &&
              fchmod(out, st.st_mode & 0777) == 0 && fsync(out) == 0;
    int number = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    ok = ok && beneath_rename(data, part, to);
    number = ok ? 0 : number ? number : errno;
    if (ok)
        beneath_unlink(data, from);
    else if (out >= 0)
        beneath_unlink(data, part);
    errno = number;
    return ok;
}

// over: what may be there already goes. Folders that somebody removed are made anew. ret_crosses:
// not NULL if it is not to be copied; true: it would have to be, to is on another disk.
static bool move(const char *data, const char *from, const char *to, bool over, bool *ret_crosses)
{
    for (int i = 0; i < 2; i++) {
        bool linked = !over && beneath_link(data, from, to);
        if (linked)
            return beneath_unlink(data, from);
        if (!over && errno == EEXIST)
            return false;
        if (errno != ENOENT && errno != EXDEV && !over) // a disk that knows no second names
            over = true;
        if (over && beneath_rename(data, from, to))
            return true;
        if (errno == EXDEV && ret_crosses)
            *ret_crosses = true;
        if (errno == EXDEV)
            return !ret_crosses && copy(data, from, to, NULL);
        CLEANUP(kb_freep) char *folder = path_folder(to);
        if (errno != ENOENT || !privacy_make_folder(data, folder))
            return false;
    }
    return false;
}

// --- a result onto another disk: minutes, perhaps, in which the broker has others to serve

struct harvest_copy {
    pthread_t thread;
    const char *data; // the broker's
    char *from, *to;
    struct cancel cancel;
    int number; // errno, once it is done
    atomic_bool done;
};

static void *copy_main(void *opaque)
{
    struct harvest_copy *c = opaque;
    c->number = copy(c->data, c->from, c->to, &c->cancel) ? 0 : errno;
    atomic_store(&c->done, true);
    return NULL;
}

static void copy_free(struct harvest_copy *c)
{
    free(c->from);
    free(c->to);
    free(c);
}

static enum kb_code start_copy(struct seat *s, const char *data, const char *from, const char *to,
                               struct kb_error *err)
{
    struct harvest_copy *c = kb_alloc(sizeof(*c));
    c->data = data;
    c->from = kb_strdup(from);
    c->to = kb_strdup(to);
    int e = pthread_create(&c->thread, NULL, copy_main, c);
    if (e != 0) {
        copy_free(c);
        return kb_fail(err, KB_NO_SPACE, _("no thread can be started: %s"), kb_strerror(e));
    }
    s->copy = c;
    return KB_EOF;
}

// Waits for it. False: errno says why.
static bool end_copy(struct seat *s)
{
    struct harvest_copy *c = TAKE(s->copy);
    pthread_join(c->thread, NULL);
    int number = c->number;
    copy_free(c);
    errno = number;
    return number == 0;
}

void harvest_cancel(struct seat *s)
{
    if (!s->copy)
        return;
    cancel_request(&s->copy->cancel);
    end_copy(s);
}

enum kb_code harvest_result(struct seat *s, const char *data, struct kb_error *err)
{
    CLEANUP(kb_freep) char *from = made_by(s, film_ending(s->claim.output_name));
    CLEANUP(kb_freep) char *to = path_join("results", s->claim.output_name);
    CLEANUP(kb_freep) char *folder = path_folder(to);
    CLEANUP(kb_freep) char *part = file_part_path(to, 0);
    CLEANUP(kb_freep) char *picture = result_beside(to, ".jpg");
    if (s->copy && !atomic_load(&s->copy->done))
        return KB_EOF;
    if (!s->copy && own_size(data, from) <= 0)
        return kb_fail(err, KB_INTERNAL,
                       _("the result '%s' of job %lld is not there; repeat the job"),
                       s->claim.output_name, (long long)s->claim.job);
    bool crosses = false;
    bool there = s->copy ? end_copy(s) : move(data, from, to, false, &crosses);
    if (crosses)
        return start_copy(s, data, from, to, err);
    if (!there)
        return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_INTERNAL,
                       _("the result '%s' cannot be moved to its place: %s; check the disk and "
                         "repeat the job"),
                       s->claim.output_name, beneath_reason(errno));
    beneath_unlink(data, part);
    s->picture = s->picture && harvest_picture(s, data, picture);
    beneath_sync(data, folder);
    return KB_OK;
}

bool harvest_file(const struct seat *s, const char *data, const char *tail, const char *to)
{
    CLEANUP(kb_freep) char *from = made_by(s, tail);
    return own_size(data, from) > 0 && move(data, from, to, true, NULL);
}

bool harvest_picture(const struct seat *s, const char *data, const char *to)
{
    return harvest_file(s, data, ".jpg", to);
}

void harvest_tracks(const struct seat *s, const char *data)
{
    const char *films[1 + MATERIAL_MOST];
    int n = s->has_job ? list_films(&s->claim, films) : 0;
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(track_tails); k++) {
            CLEANUP(kb_freep)
            char *from = kb_printf("%s/%.*s%s", s->folder, KEY_DIGITS, films[i], track_tails[k]);
            CLEANUP(kb_freep)
            char *to = kb_printf("tracks/%.*s%s", KEY_DIGITS, films[i], track_tails[k]);
            if (own_size(data, from) > 0)
                move(data, from, to, true, NULL);
        }
}

// A packed network is used as it stands by every worker that loads the model, so it is taken only
// from a process that nobody's file can have taken over yet, and only of the model it was given.
void harvest_networks(const struct seat *s, const char *data)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    char hash[KEY_DIGITS + 1];
    if (batch_options_parse(s->claim.options, &o, NULL) != KB_OK || !o.model)
        return;
    DIR *d = beneath_list(data, s->folder);
    bool hashed = false, any = false;
    for (struct dirent *e; d && (e = readdir(d));) {
        CLEANUP(kb_freep) char *from = path_join(s->folder, e->d_name);
        CLEANUP(kb_freep) char *to = path_join("networks", e->d_name);
        if (!has_key(e->d_name) || !text_ends(e->d_name, ".kbp") || own_size(data, from) <= 0)
            continue;
        hashed = hashed || file_hash(hash, o.model, NULL) == KB_OK;
        if (hashed && strncmp(e->d_name, hash, KEY_DIGITS) == 0 &&
            move(data, from, to, true, NULL)) {
            lend(s, data, "networks", e->d_name);
            any = true;
        }
    }
    if (d)
        closedir(d);
    CLEANUP(kb_freep) char *networks = path_join(data, "networks");
    if (any)
        cache_trim(networks, ".kbp", cache_limit());
}
