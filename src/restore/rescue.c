#include "restore/rescue.h"

#include "base/beneath.h"
#include "base/file.h"
#include "store/backup.h"
#include "store/identity.h"
#include "store/lock.h"
#include "store/names.h"
#include "store/replace.h"
#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

#define PART DATABASE_NAME ".part"

void rescue_report_free(struct rescue_report *r)
{
    free(r->backup);
    free(r->kept);
}

// --- the ways

// A page that was open before knows more revisions than the backup: it is to load everything anew.
// What is loose in the backup may have gone since, and its name may be that of a newer file.
static enum kb_code make_present(struct store *s, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = store_exec(s, NULL, err, "UPDATE clock SET rev = rev + 1000000, oldest = rev + 1000000",
                      "");
    if (code == KB_OK)
        code = store_exec(s, NULL, err, "DELETE FROM gone", "");
    if (code == KB_OK)
        code = store_exec(s, NULL, err, "DELETE FROM loose", "");
    return store_end(s, code, err);
}

static enum kb_code put_in_place(const char *folder, const struct rescue_params *p,
                                 struct rescue_report *ret, struct kb_error *err)
{
    CLEANUP(store_close) struct store *s = NULL;
    struct store_params how = {.create = true, .adopt = true};
    if (p->dry_run) {
        beneath_unlink(folder, PART);
        return KB_OK;
    }
    enum kb_code code = replace_database(folder, PART, &ret->kept, err);
    if (code == KB_OK)
        code = store_open_as(&s, folder, &how, err);
    return code == KB_OK ? make_present(s, err) : code;
}

static enum kb_code copy_backup(const char *folder, const char *name, const struct rescue_params *p,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *backups = path_join(folder, BACKUP_FOLDER);
    CLEANUP(kb_freep) char *from = path_join(backups, name);
    CLEANUP(kb_freep) char *part = path_join(folder, PART);
    return backup_copy(from, part, p->cancel, err);
}

// The newest that is whole: of the daily ones and those before a change of the schema. Or the one
// of that name.
static enum kb_code take_backup(const char *folder, const struct rescue_params *p,
                                const char *wanted, struct rescue_report *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    bool latest = strcmp(wanted, "latest") == 0;
    int n = 0;
    enum kb_code code = backup_list(folder, &list, &n, err);
    if (code != KB_OK)
        return code;
    code = kb_fail(err, KB_NOT_FOUND,
                   _("there is no backup '%s' in '%s'; 'koubo restore --list' shows which there "
                     "are"),
                   wanted, folder);
    for (int i = 0; i < n; i++) {
        if (latest ? strcmp(list[i].why, "replaced") == 0 : strcmp(list[i].name, wanted) != 0)
            continue;
        code = copy_backup(folder, list[i].name, p, err);
        if (code == KB_OK)
            ret->backup = kb_strdup(list[i].name);
        if (code != KB_BAD_INPUT || !latest) // a damaged one: the one before it
            break;
    }
    if (code != KB_OK)
        return code;
    ret->way = RESCUE_BACKUP;
    return put_in_place(folder, p, ret, err);
}

static enum kb_code salvage(const char *folder, const struct rescue_params *p,
                            struct rescue_report *ret, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, DATABASE_NAME);
    CLEANUP(kb_freep) char *part = path_join(folder, PART);
    enum kb_code code = salvage_run(path, part, &ret->salvaged, err);
    if (code != KB_OK)
        return code;
    ret->way = RESCUE_SALVAGE;
    return put_in_place(folder, p, ret, err);
}

static enum kb_code begin_anew(const char *folder, const struct rescue_params *p,
                               struct rescue_report *ret, struct kb_error *err)
{
    CLEANUP(store_close) struct store *s = NULL;
    ret->way = RESCUE_ANEW;
    struct store_params how = {.create = true, .anew = true};
    return p->dry_run ? KB_OK : store_open_as(&s, folder, &how, err);
}

// Of a lost one: there may be a backup, a WAL whose file is gone, or nothing but results.
static enum kb_code replace_lost(const char *folder, const struct rescue_params *p,
                                 struct rescue_report *ret, struct kb_error *err)
{
    enum kb_code code = take_backup(folder, p, "latest", ret, err);
    if (code != KB_NOT_FOUND && code != KB_BAD_INPUT)
        return code;
    code = salvage(folder, p, ret, err);
    return code == KB_NOT_FOUND ? begin_anew(folder, p, ret, err) : code;
}

// --- which one

static bool is_lost(const char *folder)
{
    return beneath_size(folder, DATABASE_NAME) <= 0;
}

// *ret: something is to be done, for which the folder must be ours.
static enum kb_code look(const char *folder, const struct rescue_params *p, bool *ret,
                         struct kb_error *err)
{
    *ret = true;
    if (p->backup || p->salvage || p->adopt)
        return KB_OK;
    if (!is_lost(folder))
        return store_is_damaged(folder, ret, err);
    struct kb_error why = {0};
    if (identity_expect(folder, &why) == KB_NOT_FOUND)
        return KB_OK;
    *ret = false; // nothing lies there: whoever opens it says so
    return KB_OK;
}

static enum kb_code act(const char *folder, const struct rescue_params *p,
                        struct rescue_report *ret, struct kb_error *err)
{
    CLEANUP(store_close) struct store *s = NULL;
    bool needed = false;
    enum kb_code code = look(folder, p, &needed, err); // again: an exchange may have been finished
    if (code != KB_OK || !needed)
        return code;
    if (p->backup)
        return take_backup(folder, p, p->backup, ret, err);
    if (p->adopt)
        return p->dry_run ? KB_OK
                          : store_open_as(&s, folder, &(struct store_params){.adopt = true}, err);
    return is_lost(folder) && !p->salvage ? replace_lost(folder, p, ret, err)
                                          : salvage(folder, p, ret, err);
}

enum kb_code rescue_database(const char *folder, const struct rescue_params *p,
                             struct rescue_report *ret, struct kb_error *err)
{
    bool needed = false;
    int lock = -1;
    *ret = (struct rescue_report){0};
    if (!file_is_dir(folder))
        return kb_fail(err, KB_NOT_FOUND, _("the folder '%s' does not exist"), folder);
    struct stat st;
    bool interrupted = beneath_stat(folder, DATABASE_NAME ".new", &st);
    enum kb_code code = interrupted ? KB_OK : look(folder, p, &needed, err);
    if (code != KB_OK || (!needed && !interrupted))
        return code;
    code = folder_lock(&lock, folder, err);
    if (code != KB_OK)
        return code;
    folder_lock_tell(lock, NULL);
    code = act(folder, p, ret, err);
    folder_unlock(lock);
    return code;
}
