#include "store/privacy.h"

#include "base/beneath.h"
#include "base/text.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#define SETTING "folders_closed"

bool privacy_make_folder(const char *data, const char *path)
{
    CLEANUP(kb_freep) char *first = kb_printf("%.*s", (int)strcspn(path, "/"), path);
    return beneath_make_dirs(data, first, 0700) && beneath_make_dirs(data, path, 0777);
}

// True: others could enter it, and now cannot.
static bool close_folder(struct store *s, const char *name)
{
    struct stat st;
    DIR *d = beneath_list(s->folder, name);
    bool closed =
        d && fstat(dirfd(d), &st) == 0 && (st.st_mode & 077) != 0 && fchmod(dirfd(d), 0700) == 0;
    if (d)
        closedir(d);
    return closed;
}

enum kb_code privacy_close_folders(struct store *s, struct text *ret_closed, struct kb_error *err)
{
    static const char *const names[] = {"results",  "files", "uploads", "thumbs", "tracks",
                                        "networks", "logs",  "work",    "backups"};
    CLEANUP(text_free) struct text done = {0};
    text_clear(ret_closed);
    enum kb_code code = setting_get(s, SETTING, &done, err);
    if (code != KB_OK || done.size > 0)
        return code;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (close_folder(s, names[i]))
            text_addf(ret_closed, "%s%s", ret_closed->size > 0 ? ", " : "", names[i]);
    return setting_put(s, SETTING, "true", err);
}
