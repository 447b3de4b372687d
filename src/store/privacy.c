#include "store/privacy.h"

#include "base/beneath.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SETTING "folders_closed"

bool privacy_make_folder(const char *data, const char *path)
{
    CLEANUP(kb_freep) char *first = kb_printf("%.*s", (int)strcspn(path, "/"), path);
    return beneath_make_dirs(data, first, 0700) && beneath_make_dirs(data, path, 0777);
}

enum outcome { WAS_CLOSED, CLOSED, LEFT_OPEN };

// What is mounted there is perhaps the root of somebody's disk, and not koubo's to close.
static enum outcome close_folder(struct store *s, const char *name)
{
    struct stat st, above;
    DIR *d = beneath_list(s->folder, name);
    if (!d)
        return errno == ENOENT ? WAS_CLOSED : LEFT_OPEN;
    enum outcome outcome = LEFT_OPEN;
    if (fstat(dirfd(d), &st) == 0 && (st.st_mode & 077) == 0)
        outcome = WAS_CLOSED;
    else if (stat(s->folder, &above) == 0 && st.st_dev == above.st_dev &&
             fchmod(dirfd(d), 0700) == 0)
        outcome = CLOSED;
    closedir(d);
    return outcome;
}

enum kb_code privacy_close_folders(struct store *s, struct text *ret_closed, struct text *ret_open,
                                   struct kb_error *err)
{
    static const char *const names[] = {"results",  "files", "uploads", "thumbs", "tracks",
                                        "networks", "logs",  "work",    "backups"};
    CLEANUP(text_free) struct text done = {0};
    text_clear(ret_closed);
    text_clear(ret_open);
    enum kb_code code = setting_get(s, SETTING, &done, err);
    if (code != KB_OK || done.size > 0)
        return code;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        enum outcome outcome = close_folder(s, names[i]);
        struct text *to = outcome == CLOSED ? ret_closed : ret_open;
        if (outcome != WAS_CLOSED)
            text_addf(to, "%s%s", to->size > 0 ? ", " : "", names[i]);
    }
    return setting_put(s, SETTING, "true", err);
}
