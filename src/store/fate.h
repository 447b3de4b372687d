// What becomes of a file: shared by the clean-up, the survey and koubo restore.
// Threads: as the store they are given (store/store.h).
#ifndef STORE_FATE_H
#define STORE_FATE_H

#include "store/names.h"
#include "store/sql.h"

enum fate {
    FATE_KEPT,  // a row names it
    FATE_LOOSE, // this database named it once and does not any more: it goes
    FATE_LOST,  // this database never named it
};

// Of a file with one of koubo's names in that folder. A caller that acts on it asks again inside a
// transaction of its own. One that is gone meanwhile is kept.
enum kb_code file_fate(struct store *s, const char *folder, const char *name,
                       const struct file_name *parsed, enum fate *ret, struct kb_error *err);

// Calls each for every regular file with one of koubo's names. folder: "results", or "work/w1"
// (then the names are those of "work"). Of results also those in the folders of batches: their name
// is "12_news/a.mp4". Stops at the first failure. A missing folder has no files;
// one that cannot be read is a failure, for who asks may make a new database where nothing lies.
struct stat;
typedef enum kb_code folder_fn(void *opaque, const char *folder, const char *name,
                               const struct file_name *parsed, const struct stat *st,
                               struct kb_error *err);
enum kb_code folder_for_each(struct store *s, const char *folder, folder_fn *each, void *opaque,
                             struct kb_error *err);

// The folder of a batch goes when nothing is in it any more. name: of a file that was in it, or of
// none. Who makes a file in one makes its folder anew when it is gone.
void shelf_prune(struct store *s, const char *name);
void shelf_prune_all(struct store *s);

// What was made, renamed or removed at folder/name survives a power cut from now on, its name that
// is: bytes are synced by who writes them. To be called before a row says that something is there,
// and before it is forgotten that something was to go. name: "12_news/a.mp4" or "a.mp4". False:
// errno says why.
bool file_settle(const struct store *s, const char *folder, const char *name);

// The file is gone, or about to come (file_loosen: it goes unless a row names it by then).
enum kb_code file_loosen(struct store *s, const char *folder, const char *stem,
                         struct kb_error *err);
void file_forget(struct store *s, const char *folder, const char *stem);

#endif
