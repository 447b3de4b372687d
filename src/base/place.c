#include "base/place.h"

#include "base/file.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

enum kb_code place_make(char **ret, const char *name, struct kb_error *err)
{
    const char *temporary = getenv("TMPDIR");
    CLEANUP(kb_freep) char *pattern = kb_printf("%s-XXXXXX", name);
    CLEANUP(kb_freep)
    char *folder = path_join(temporary && *temporary ? temporary : "/tmp", pattern);
    if (!mkdtemp(folder))
        return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot make a temporary folder like '%s': %s; set TMPDIR to another one"),
                       folder, kb_strerror(errno));
    *ret = TAKE(folder);
    return KB_OK;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    remove(path); // the folder above tells if it failed
    return 0;
}

bool place_remove(const char *path)
{
    struct stat st;
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return lstat(path, &st) != 0 && errno == ENOENT;
}

void place_end(char **place)
{
    if (*place)
        place_remove(*place);
    kb_freep(place);
}
