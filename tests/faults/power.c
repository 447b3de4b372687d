#include "tests/faults/power.h"

#include "tests/faults/calls.h"
#include "tests/test.h"

#include "base/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <xxhash.h>

#define MOST_CALLS 4000
#define MOST_FILES 400

// One thing done, by the number of the file it was done to.
struct deed {
    int what; // of struct call
    int file; // -1: a folder
    char *path, *to;
    int64_t offset, size;
    char *data;
    struct ledger ledger; // before it
};

struct power {
    char *folder;
    const struct ledger *ledger;
    struct ledger last;
    struct deed base[MOST_FILES]; // what was there: folders, and files with their bytes
    int n_base;
    struct deed deeds[MOST_CALLS];
    int n_deeds, n_files;
    ino_t inodes[MOST_FILES]; // by file; the last one that has it counts
};

const char *loss_name(enum loss l)
{
    static const char *const names[N_LOSSES] = {"nothing", "all", "bytes", "names", "some"};
    return names[l];
}

// --- writing down

static char *below(const struct power *p, const char *path)
{
    const char *rest = path + strlen(p->folder);
    return kb_strdup(rest + (*rest == '/'));
}

static int file_of(const struct power *p, ino_t inode)
{
    int i = p->n_files - 1;
    while (i >= 0 && p->inodes[i] != inode)
        i--;
    return i;
}

static int add_file(struct power *p, ino_t inode)
{
    assert_true(p->n_files < MOST_FILES);
    p->inodes[p->n_files] = inode;
    return p->n_files++;
}

static struct power *filling;

static int add_base(const char *path, const struct stat *st, int type, struct FTW *at)
{
    struct power *p = filling;
    (void)at;
    assert_true(p->n_base < MOST_FILES);
    struct deed *d = &p->base[p->n_base++];
    *d = (struct deed){.what = CALL_MKDIR, .file = -1, .path = below(p, path)};
    if (type != FTW_F)
        return 0;
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map m = {0};
    d->what = CALL_CREATE;
    d->file = add_file(p, st->st_ino);
    d->size = st->st_size;
    if (d->size == 0)
        return 0;
    assert_ok(err, file_map(&m, path, &err));
    d->data = kb_alloc(m.size);
    memcpy(d->data, m.data, m.size);
    return 0;
}

static void write_down(void *opaque, const struct call *c)
{
    struct power *p = opaque;
    struct stat st = {0};
    size_t n = strlen(c->path);
    if (n > 4 && strcmp(c->path + n - 4, "-shm") == 0)
        return; // what SQLite's processes share in memory; made anew
    assert_true(p->n_deeds < MOST_CALLS);
    struct deed *d = &p->deeds[p->n_deeds++];
    *d = (struct deed){.what = (int)c->what,
                       .file = -1,
                       .path = below(p, c->path),
                       .to = c->to ? below(p, c->to) : NULL,
                       .offset = c->offset,
                       .size = c->size,
                       .ledger = *p->ledger};
    if (c->fd >= 0)
        assert_int_equal(fstat(c->fd, &st), 0);
    if (c->what == CALL_CREATE)
        d->file = add_file(p, st.st_ino);
    else if (c->fd >= 0 && S_ISREG(st.st_mode))
        d->file = file_of(p, st.st_ino);
    if (c->what == CALL_WRITE) {
        d->data = kb_alloc((size_t)c->size);
        memcpy(d->data, c->data, (size_t)c->size);
    }
}

struct power *power_record(const char *folder, const struct ledger *ledger)
{
    struct power *p = kb_alloc(sizeof(*p));
    p->folder = kb_strdup(folder);
    p->ledger = ledger;
    filling = p;
    nftw(folder, add_base, 16, FTW_PHYS);
    calls_tell(write_down, p);
    return p;
}

void power_end(struct power *p)
{
    calls_tell(NULL, NULL);
    p->last = *p->ledger;
}

static void free_deed(struct deed *d)
{
    free(d->path);
    free(d->to);
    free(d->data);
}

void power_free(struct power *p)
{
    for (int i = 0; i < p->n_base; i++)
        free_deed(&p->base[i]);
    for (int i = 0; i < p->n_deeds; i++)
        free_deed(&p->deeds[i]);
    free(p->folder);
    free(p);
}

int power_calls(const struct power *p)
{
    return p->n_deeds;
}

int power_syncs(const struct power *p)
{
    int n = 0;
    for (int i = 0; i < p->n_deeds; i++)
        n += p->deeds[i].what == CALL_SYNC;
    return n;
}

const struct ledger *power_ledger(const struct power *p, int n)
{
    return n < p->n_deeds ? &p->deeds[n].ledger : &p->last;
}

// --- what is on the disk

struct bytes {
    char *data;
    int64_t size;
};

struct name {
    const char *path;
    int file; // -1: a folder
};

struct disk {
    struct bytes files[MOST_FILES];
    struct name names[MOST_FILES], safe[MOST_FILES]; // as they are; as their folders were synced
    int n_names, n_safe;
};

static void put(struct bytes *b, int64_t offset, const char *data, int64_t size)
{
    if (offset + size > b->size) {
        b->data = realloc(b->data, (size_t)(offset + size));
        assert_non_null(b->data);
        if (offset > b->size)
            memset(b->data + b->size, 0, (size_t)(offset - b->size));
        b->size = offset + size;
    }
    memcpy(b->data + offset, data, (size_t)size);
}

static void cut(struct bytes *b, int64_t size)
{
    if (size > b->size) {
        const char zero = 0;
        put(b, size - 1, &zero, 1);
    }
    b->size = size;
}

static void add_name(struct name *names, int *n, const char *path, int file)
{
    assert_true(*n < MOST_FILES);
    names[(*n)++] = (struct name){path, file};
}

static int find_name(const struct name *names, int n, const char *path)
{
    int i = n - 1;
    while (i >= 0 && strcmp(names[i].path, path) != 0)
        i--;
    return i;
}

static void remove_name(struct name *names, int *n, const char *path)
{
    int i = find_name(names, *n, path);
    if (i < 0)
        return;
    memmove(names + i, names + i + 1, (size_t)(*n - i - 1) * sizeof(names[0]));
    --*n;
}

// Does path lie in that folder itself ("" = the outermost)?
static bool lies_in(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    if (*path == '\0' || strncmp(path, folder, n) != 0)
        return false;
    const char *rest = path + n;
    if (n > 0 && *rest++ != '/')
        return false;
    return *rest != '\0' && strchr(rest, '/') == NULL;
}

static void sync_names(struct disk *d, const char *folder)
{
    int kept = 0;
    for (int i = 0; i < d->n_safe; i++)
        if (!lies_in(d->safe[i].path, folder))
            d->safe[kept++] = d->safe[i];
    d->n_safe = kept;
    for (int i = 0; i < d->n_names; i++)
        if (lies_in(d->names[i].path, folder))
            add_name(d->safe, &d->n_safe, d->names[i].path, d->names[i].file);
}

static void do_names(struct disk *d, const struct deed *deed)
{
    int at = find_name(d->names, d->n_names, deed->path);
    switch (deed->what) {
    case CALL_CREATE:
    case CALL_MKDIR:
        add_name(d->names, &d->n_names, deed->path, deed->file);
        break;
    case CALL_LINK:
        add_name(d->names, &d->n_names, deed->to, d->names[at].file);
        break;
    case CALL_RENAME: {
        int file = d->names[at].file;
        assert_true(file >= 0); // koubo renames no folders
        remove_name(d->names, &d->n_names, deed->path);
        remove_name(d->names, &d->n_names, deed->to);
        add_name(d->names, &d->n_names, deed->to, file);
        break;
    }
    case CALL_UNLINK:
    case CALL_RMDIR:
        remove_name(d->names, &d->n_names, deed->path);
        break;
    case CALL_SYNC:
        if (deed->file < 0)
            sync_names(d, deed->path);
        break;
    default:
        break;
    }
}

// Was the file synced in a deed of from … n - 1?
static bool is_synced_later(const struct power *p, int file, int from, int n)
{
    for (int i = from; i < n; i++)
        if (p->deeds[i].what == CALL_SYNC && p->deeds[i].file == file)
            return true;
    return false;
}

// How much of the bytes of this deed are there: 0 nothing, 1 half, 2 all.
static int share_of(const struct power *p, int i, int n, enum loss loss, uint32_t seed)
{
    if (loss == LOSS_NONE || loss == LOSS_NAMES || is_synced_later(p, p->deeds[i].file, i + 1, n))
        return 2;
    if (loss != LOSS_SOME)
        return 0;
    const uint32_t key[2] = {seed, (uint32_t)i};
    return (int)(XXH3_64bits(key, sizeof(key)) % 3);
}

static void do_bytes(struct disk *d, const struct deed *deed, int share)
{
    if (deed->file < 0 || share == 0)
        return;
    struct bytes *b = &d->files[deed->file];
    if (deed->what == CALL_WRITE)
        put(b, deed->offset, deed->data, share == 1 ? deed->size / 2 : deed->size);
    else if (deed->what == CALL_TRUNCATE)
        cut(b, deed->size);
}

// Up to which call the names are there that nobody synced.
static int names_until(const struct power *p, int n, enum loss loss, uint32_t seed)
{
    if (loss == LOSS_NONE || loss == LOSS_BYTES)
        return n;
    if (loss != LOSS_SOME)
        return 0;
    int from = 0; // a folder that was synced took all before it along
    for (int i = 0; i < n; i++)
        if (p->deeds[i].what == CALL_SYNC)
            from = i + 1;
    return from + (int)(XXH3_64bits(&seed, sizeof(seed)) % (uint64_t)(n - from + 1));
}

static void fill_disk(struct disk *d, const struct power *p, int n, enum loss loss, uint32_t seed)
{
    for (int i = 0; i < p->n_base; i++) {
        const struct deed *b = &p->base[i];
        add_name(d->names, &d->n_names, b->path, b->file);
        add_name(d->safe, &d->n_safe, b->path, b->file);
        if (b->file >= 0 && b->size > 0)
            put(&d->files[b->file], 0, b->data, b->size);
    }
    int until = names_until(p, n, loss, seed);
    for (int i = 0; i < n; i++) {
        if (until == 0 || i < until)
            do_names(d, &p->deeds[i]);
        do_bytes(d, &p->deeds[i], share_of(p, i, n, loss, seed));
    }
    if (until == 0 && n > 0) { // only what their folders say
        memcpy(d->names, d->safe, sizeof(d->safe));
        d->n_names = d->n_safe;
    }
}

// --- building

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

static void make_file(const char *to, const struct disk *d, int i)
{
    const struct name *name = &d->names[i];
    const struct bytes *b = &d->files[name->file];
    CLEANUP(kb_freep) char *path = path_join(to, name->path);
    for (int other = 0; other < i; other++) { // one file under two names
        CLEANUP(kb_freep) char *first = path_join(to, d->names[other].path);
        if (d->names[other].file == name->file && link(first, path) == 0)
            return;
    }
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    for (int64_t at = 0; at < b->size;) {
        ssize_t written = write(fd, b->data + at, (size_t)(b->size - at));
        assert_true(written > 0);
        at += written;
    }
    assert_int_equal(futimens(fd, long_ago), 0);
    close(fd);
}

// The folder that path lies in is lost.
static bool is_unreachable(const struct disk *d, int i)
{
    CLEANUP(kb_freep) char *folder = path_folder(d->names[i].path);
    if (strcmp(folder, ".") == 0)
        return false;
    int at = find_name(d->names, d->n_names, folder);
    return at < 0 || is_unreachable(d, at);
}

uint64_t power_build(const struct power *p, int n, enum loss loss, uint32_t seed, const char *to)
{
    struct disk *d = kb_alloc(sizeof(*d));
    fill_disk(d, p, n, loss, seed);
    qsort(d->names, (size_t)d->n_names, sizeof(d->names[0]), by_path);
    XXH3_state_t *sum = XXH3_createState();
    XXH3_64bits_reset(sum);
    for (int i = 0; i < d->n_names; i++) {
        const struct name *name = &d->names[i];
        if (is_unreachable(d, i))
            continue;
        XXH3_64bits_update(sum, name->path, strlen(name->path) + 1);
        if (name->file >= 0 && d->files[name->file].size > 0)
            XXH3_64bits_update(sum, d->files[name->file].data, (size_t)d->files[name->file].size);
        if (to && name->file >= 0) {
            make_file(to, d, i);
        } else if (to) {
            CLEANUP(kb_freep) char *path = path_join(to, name->path);
            mkdir(path, 0755); // the outermost is there
        }
    }
    uint64_t number = XXH3_64bits_digest(sum);
    XXH3_freeState(sum);
    for (int i = 0; i < MOST_FILES; i++)
        free(d->files[i].data);
    free(d);
    return number;
}
