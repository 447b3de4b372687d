#include "store/replace.h"

#include "base/beneath.h"
#include "store/backup.h"
#include "store/names.h"

#include <errno.h>

#define NEW DATABASE_NAME ".new"

static enum kb_code failed(const char *folder, struct kb_error *err)
{
    return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                   _("the database in '%s' cannot be replaced: %s; check the disk and the "
                     "permissions of the folder, and try again"),
                   folder, beneath_reason(errno));
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
        struct stat st;
        if (!beneath_stat(folder, from, &st))
            continue;
        any = true;
        if (!beneath_rename(folder, from, to))
            return failed(folder, err);
    }
    beneath_unlink(folder, DATABASE_NAME "-shm"); // no data: SQLite's index of the WAL, made anew
    if (ret_kept)
        *ret_kept = any ? TAKE(name) : NULL;
    return KB_OK;
}

static enum kb_code finish(const char *folder, char **ret_kept, struct kb_error *err)
{
    struct stat st;
    if (!beneath_stat(folder, NEW, &st))
        return errno == ENOENT ? KB_OK : failed(folder, err);
    enum kb_code code = set_aside(folder, st.st_mtim.tv_sec * 1000LL, ret_kept, err);
    if (code == KB_OK && (!beneath_sync(folder, BACKUP_FOLDER) ||
                          !beneath_rename(folder, NEW, DATABASE_NAME) || !beneath_sync(folder, "")))
        code = failed(folder, err);
    return code;
}

enum kb_code replace_database(const char *folder, const char *part, char **ret_kept,
                              struct kb_error *err)
{
    if (ret_kept)
        *ret_kept = NULL;
    if (!beneath_rename(folder, part, NEW) || !beneath_sync(folder, "")) {
        enum kb_code code = failed(folder, err);
        beneath_unlink(folder, part);
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
