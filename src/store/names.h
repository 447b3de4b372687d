// How koubo names its files below the data folder, in one place. What is named otherwise belongs to
// somebody else and is never removed.
// Thread-safe.
#ifndef STORE_NAMES_H
#define STORE_NAMES_H

#include "base/base.h"

#define NAME_STEM 520 // holds any stem

// In the data folder itself. What SQLite puts beside its file is called koubo.db-wal and -shm.
#define DATABASE_NAME "koubo.db"
#define IDENTITY_NAME "id"      // whose database it is (identity.h)
#define LOCK_NAME     "lock"    // of a running server (lock.h)
#define BACKUP_FOLDER "backups" // backup.h

struct file_name {
    // Of a result its mark, as result_mark() has it: "12_batch/film_speech_2026-11-27", or "7-1" as
    // they were called before version 3; of its thumbnail the name without an ending. Of a content
    // its hash, of an upload its id.
    char stem[NAME_STEM];
    int64_t job, attempt; // of a result of the old kind, else 0
    int64_t batch;        // of a result in a folder
    bool half;            // about to become a whole file
    bool picture;         // the thumbnail of a result
    bool foreign; // lies where results lie, but is called as none is: a renamed one, or somebody's
};

// Is this one of koubo's names in that folder ("results", "files", "thumbs", "uploads", "tracks",
// "work")? A result's has its own folder before it. ret may be NULL. Only a regular file is a file
// of koubo's: that is the caller's to see.
bool file_name_parse(struct file_name *ret, const char *folder, const char *name);

// The folder of a batch below results/: "12_news". Is this one? Its number, else 0.
char *shelf_name(int64_t batch, const char *name); // a new string
int64_t shelf_parse(const char *name);

// How a result is called, without its ending: "film_speech_2026-11-27", at most SHELF_STEM bytes,
// for the local date of time_ms. Numbers and tails may come behind it: a name has at most 255
// bytes. A new string.
#define SHELF_STEM 220
char *shelf_stem(const char *film, const char *speech, int64_t time_ms);

// What a result may end in, ".mp4" first. Which one is its job's options' to say.
#define N_FILM_ENDINGS 3
extern const char *const film_endings[N_FILM_ENDINGS];
// That of a name; "": none of them.
const char *film_ending(const char *name);

// The name of a result with another tail: "12_news/a.mp4" and ".jpg" give "12_news/a.jpg"; with ""
// its stem. No two results have the same one, whatever they end in. A new string.
char *result_beside(const char *name, const char *tail);

// How the database knows what is written (job.output) and what is to go (loose): by the name,
// without ".mp4", "12_news/a" or "12_news/a.webm". A name like "a.mov.mp4" stays as it is. And
// back. New strings.
char *result_mark(const char *name);
char *result_of_mark(const char *mark);

#endif
