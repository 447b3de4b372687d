#include "cluster/model.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KNOWN       64 // models whose hash is kept
#define CHUNK_BYTES (1 << 20)

// What was read of a file that was like that.
struct known {
    char *path;
    struct stat st;
    char sha256[65];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known known[KNOWN]; // the longest known goes first
static int n_known;

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool recall(char ret[65], const char *path, const struct stat *st)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_known && !found; i++) {
        found = strcmp(known[i].path, path) == 0 && is_same(&known[i].st, st);
        if (found)
            memcpy(ret, known[i].sha256, sizeof(known[i].sha256));
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void remember(const char *path, const struct stat *st, const char sha256[65])
{
    pthread_mutex_lock(&lock);
    int at = 0;
    while (at < n_known && strcmp(known[at].path, path) != 0)
        at++;
    if (at == KNOWN) {
        free(known[0].path);
        memmove(known, known + 1, (KNOWN - 1) * sizeof(*known));
        at = --n_known;
    }
    if (at == n_known)
        known[n_known++].path = kb_strdup(path);
    known[at].st = *st;
    memcpy(known[at].sha256, sha256, sizeof(known[at].sha256));
    pthread_mutex_unlock(&lock);
}

static void digest_free(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
}

enum kb_code model_hash(char ret[65], int fd, const char *path, struct kb_error *err)
{
    CLEANUP(kb_freep) char *buffer = kb_alloc(CHUNK_BYTES);
    CLEANUP(digest_free) EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    ssize_t n;
    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
        abort(); // memory is out
    while ((n = read(fd, buffer, CHUNK_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kb_fail(err, KB_BAD_INPUT, _("cannot read '%s': %s"), path, kb_strerror(errno));
        EVP_DigestUpdate(c, buffer, (size_t)n);
    }
    EVP_DigestFinal_ex(c, digest, &size);
    bytes_hex(ret, digest, 32);
    return KB_OK;
}

static enum kb_code read_model(struct model_file *m, bool may_read, struct kb_error *err)
{
    struct stat st;
    int fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not block
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        int number = fd < 0 ? errno : EINVAL;
        if (fd >= 0)
            close(fd);
        return kb_fail(err, number == ENOENT ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("cannot read '%s': %s"), m->path, kb_strerror(number));
    }
    enum kb_code code = KB_OK;
    bool is_known = recall(m->sha256, m->path, &st);
    if (!is_known && !may_read) {
        code = KB_EOF;
    } else if (!is_known) {
        code = model_hash(m->sha256, fd, m->path, err);
        if (code == KB_OK)
            remember(m->path, &st, m->sha256);
    }
    m->size = st.st_size;
    close(fd);
    return code;
}

// Those that koubo brings along are the same wherever its version is.
static bool is_bundled(const char *file)
{
    return strcmp(file, MODEL_BUNDLED ".safetensors") == 0 ||
           strcmp(file, "koubo-lips.safetensors") == 0;
}

static enum kb_code find_model(struct model_file *ret, const char *options, bool may_read,
                               struct kb_error *err)
{
    *ret = (struct model_file){0};
    json_auto_t *o = json_loads(options, 0, NULL);
    const char *word = json_string_value(json_object_get(o, "model"));
    if (!word || strchr(word, '/'))
        return KB_OK; // a worker says what is wrong with options
    CLEANUP(kb_freep)
    char *file = model_is_file(word) ? kb_strdup(word) : kb_printf("%s.safetensors", word);
    if (is_bundled(file))
        return KB_OK;
    if (model_locate(&ret->path, file, NULL) != KB_OK)
        return kb_fail(err, KB_NOT_FOUND,
                       _("there is no model '%s' in the models folder; koubo model list shows "
                         "what is there"),
                       word);
    ret->name = TAKE(file);
    enum kb_code code = read_model(ret, may_read, err);
    if (code != KB_OK)
        model_file_free(ret);
    return code;
}

enum kb_code model_of_options(struct model_file *ret, const char *options, struct kb_error *err)
{
    return find_model(ret, options, true, err);
}

enum kb_code model_known(struct model_file *ret, const char *options, struct kb_error *err)
{
    return find_model(ret, options, false, err);
}

void model_file_free(struct model_file *m)
{
    free(m->path);
    free(m->name);
    *m = (struct model_file){0};
}
