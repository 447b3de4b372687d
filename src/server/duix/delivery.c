#include "server/duix/delivery.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/uri.h"
#include "queue/result.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "temp"

char *easy_result_name(const char *code)
{
    struct text name = {0};
    uri_encode(&name, code, strlen(code), "_-");
    text_add(&name, "-r.mp4");
    return name.data;
}

// The bytes of the result at path into the new file name of the share, safe from a power cut:
// errno if not.
static bool copy_file(struct store *s, const char *path, const char *share, const char *name,
                      const struct cancel *cancel)
{
    int from = beneath_open(s->folder, path, O_RDONLY, 0);
    int to = from < 0 ? -1 : beneath_open(share, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    struct stat st;
    bool done = to >= 0 && fstat(from, &st) == 0 && file_copy(to, from, st.st_size, cancel) &&
                fsync(to) == 0;
    int saved = errno;
    if (from >= 0)
        close(from);
    if (to >= 0 && close(to) != 0 && done) {
        done = false;
        saved = errno;
    }
    errno = saved;
    return done;
}

// The name appears when the file is whole. path lies below the data folder.
static bool put_file(struct store *s, const char *path, const char *share, const char *name,
                     const struct cancel *cancel)
{
    CLEANUP(kb_freep) char *whole = kb_printf(FOLDER "/%s", name);
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", whole);
    if (!beneath_make_dirs(share, FOLDER, 0777))
        return false;
    beneath_unlink(share, part); // of a server that was killed
    bool done = copy_file(s, path, share, part, cancel) && beneath_rename(share, part, whole) &&
                beneath_sync(share, FOLDER);
    int saved = errno;
    if (!done)
        beneath_unlink(share, part);
    errno = saved;
    return done;
}

enum kb_code easy_deliver(struct store *s, const char *share, const struct easy *e,
                          const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(result_free) struct result result = {0};
    enum kb_code code = result_find(s, e->job, &result, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *name = easy_result_name(e->code);
    const char *below = result.path + strlen(s->folder) + 1; // store_path() made it
    if (put_file(s, below, share, name, cancel))
        return KB_OK;
    int saved = errno;
    code = cancel_check(cancel, err);
    if (code != KB_OK)
        return code;
    return kb_fail(err, saved == ENOSPC || saved == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                   _("cannot write '%s' into the folder temp of '%s': %s"), name, share,
                   beneath_reason(saved));
}
