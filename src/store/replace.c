#include "store/replace.h"

#include "base/file.h"
#include "store/backup.h"
#include "store/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW DATABASE_NAME ".new"

static enum kb_code failed(const char *folder, struct kb_error *err)
{
    return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                   _("the database in '%s' cannot be replaced: %s"), folder, kb_strerror(errno));
}

static bool move(const char *folder, const char *from, const char *to)
{
    CLEANUP(kb_freep) char *a = path_join(folder, from);
    CLEANUP(kb_freep) char *b = path_join(folder, to);
    return rename(a, b) == 0 || errno == ENOENT;
}

static bool is_there(const char *folder, const char *name)
{
    struct stat st;
    CLEANUP(kb_freep) char *path = path_join(folder, name);
    return lstat(path, &st) == 0;
}

// The name is that of the moment in which the new one was made, so whoever goes on after a crash
// puts the rest beside what was moved already. The WAL goes first: beside another database SQLite
// would take it for that one's.
static enum kb_code set_aside(const char *folder, int64_t time_ms, char **ret_kept,
                              struct kb_error *err)
{
    static const char *const tails[] = {"-wal", "-journal", ""};
    enum kb_code code = backup_make_folder(folder, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *name = backup_name(folder, "replaced", time_ms);
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        CLEANUP(kb_freep) char *from = kb_printf("%s%s", DATABASE_NAME, tails[i]);
        CLEANUP(kb_freep) char *to = kb_printf("%s/%s%s", BACKUP_FOLDER, name, tails[i]);
        if (!is_there(folder, from))
            continue;
        any = true;
        if (!move(folder, from, to))
            return failed(folder, err);
    }
    CLEANUP(kb_freep) char *shared = path_join(folder, DATABASE_NAME "-shm");
    unlink(shared); // no data: SQLite's index of the WAL, made anew
    if (ret_kept)
        *ret_kept = any ? TAKE(name) : NULL;
    return KB_OK;
}

static enum kb_code finish(const char *folder, char **ret_kept, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, NEW);
    CLEANUP(kb_freep) char *backups = path_join(folder, BACKUP_FOLDER);
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? KB_OK : failed(folder, err);
    enum kb_code code = set_aside(folder, st.st_mtim.tv_sec * 1000LL, ret_kept, err);
    if (code == KB_OK &&
        (!folder_sync(backups) || !move(folder, NEW, DATABASE_NAME) || !folder_sync(folder)))
        code = failed(folder, err);
    return code;
}

enum kb_code replace_database(const char *folder, const char *part, char **ret_kept,
                              struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, NEW);
    if (ret_kept)
        *ret_kept = NULL;
    if (rename(part, path) != 0 || !folder_sync(folder)) {
        enum kb_code code = failed(folder, err);
        unlink(part);
        return code;
    }
    return finish(folder, ret_kept, err);
}

enum kb_code replace_finish(const char *folder, struct kb_error *err)
{
    return finish(folder, NULL, err);
}

enum kb_code replace_set_aside(const char *folder, struct kb_error *err)
{
    return set_aside(folder, kb_wall_ms(), NULL, err);
}
