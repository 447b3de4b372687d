#include "server/duix/delivery.h"

#include "base/file.h"
#include "base/uri.h"
#include "queue/result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *easy_result_name(const char *code)
{
    struct text name = {0};
    uri_encode(&name, code, strlen(code), "_-");
    text_add(&name, "-r.mp4");
    return name.data;
}

static bool copy_file(const char *path, int folder, const char *name)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    struct stat st;
    bool done = from >= 0 && to >= 0 && fstat(from, &st) == 0 && file_copy(to, from, st.st_size);
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

// The name appears when the file is whole.
static bool put_file(const char *path, int folder, const char *name)
{
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", name);
    unlinkat(folder, part, 0);
    bool done = linkat(AT_FDCWD, path, folder, part, 0) == 0 || copy_file(path, folder, part);
    if (done && renameat(folder, part, folder, name) == 0) {
        unlinkat(folder, part, 0); // still there if both were one file already
        return true;
    }
    int saved = errno;
    unlinkat(folder, part, 0);
    errno = saved;
    return false;
}

enum kb_code easy_deliver(struct store *s, const char *share, const struct easy *e,
                          struct kb_error *err)
{
    CLEANUP(result_free) struct result result = {0};
    enum kb_code code = result_find(s, e->job, &result, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *folder_path = path_join(share, "temp");
    CLEANUP(kb_freep) char *name = easy_result_name(e->code);
    code = file_make_dirs(folder_path, err);
    if (code != KB_OK)
        return code;
    int folder = open(folder_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || !put_file(result.path, folder, name))
        code = kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot write '%s' into '%s': %s"), name, folder_path, kb_strerror(errno));
    if (folder >= 0)
        close(folder);
    return code;
}
