// What the files of the broker share: a seat, that is, a worker as the server sees it.
// All of it from the broker's thread.
#ifndef WORKER_INTERNAL_H
#define WORKER_INTERNAL_H

#include "asset/claim.h"
#include "media/extras.h"
#include "media/words.h"
#include "queue/lease.h"
#include "worker/broker.h"
#include "worker/flood.h"
#include "worker/line.h"
#include "worker/previews.h"

#define REPORT_US 180000 // how often it is written down where the work is
#define FILE_STEM 32     // digits of the name that a worker gives what it makes

// The folders that a caged worker can use are those that were there when it started: a folder that
// was removed and made anew is another one to its cage.
#define N_PLACES 4
struct places {
    dev_t device[N_PLACES];
    ino_t number[N_PLACES];
};

enum ending { NOT_ENDED, ENDED_WELL, ENDED_BADLY, ENDED_LATER, ENDED_BACK };

struct seat {
    // As the supervisor said (struct desk).
    char worker[16], folder[32]; // "w1", "work/w1" below the data folder
    struct places places;        // of its process
    bool inspect;
    bool previews; // makes these instead of jobs
    bool taken, ended, hung;
    int pid;            // 0: not known yet
    const char *reason; // why the process ended

    int line;    // -1: closed
    bool bad;    // it said what makes no sense, and is not listened to any more
    bool clean;  // it has read nothing yet that a user gave
    bool loaded; // it said so, and waits to be let go on
    struct flood flood;
    bool asks;   // for work
    bool leaves; // it was told to end, and gets no more
    bool spent;  // it is to: a file that failed it may have done more to it
    bool complained;
    int64_t heard_us, again_us; // when it was last heard, and when what failed is tried again
    int64_t lines_us;           // since when its part of the log is counted
    size_t log_bytes;

    // Its row.
    bool row_new;
    char state[16], model[128], precision[16];
    int64_t rss_bytes;
    int64_t row_us; // when it was last written, and with which state
    char row_state[16];

    // What it is at. file: how its files in the folder are called, without tail.
    char file[FILE_STEM + 1];
    bool has_job, has_asset, told; // told: that it is to stop
    int64_t told_us, given_us;     // when; and when the asset was given
    int64_t free_us;               // since when it has nothing to do
    struct job_claim claim;
    char preview[33]; // in the place of a job: its id; "": none
    bool preview_picture;
    struct asset asset;
    struct job_report report;
    bool report_new;
    int64_t report_us; // when one was last written down
    int64_t moved_us;
    double progress;     // of the looking at an asset; < 0: told
    int64_t spent_us[2]; // on users' files and on results, while both wait (seat_asset.c)

    // How that ended, as long as it is not written down.
    enum ending ending;
    bool moved;                // the result has its name
    struct harvest_copy *copy; // that gives it its name; NULL: none is under way
    struct dub_result result;
    bool picture;
    struct kb_error why;
    char kind[8], codec[65], warnings[8][24];
    struct asset_facts facts; // its pointers are set when it is written
    uint8_t peaks[400];
    struct subtitle_track cues; // that its result was made with, or that were found in it
    struct words words; // of the asset, while its text is spoken: the text, and what was said of it
};

// A message of that worker's, about what it has. False: it makes no sense.
bool seat_hear(struct seat *s, const json_t *message);
bool seat_hear_job(struct seat *s, const char *is, const json_t *message);
bool seat_hear_asset(struct seat *s, const char *is, const json_t *message);
bool seat_hear_cues(struct seat *s, const json_t *message); // some more of them

// One that has loaded its model may read what users gave, once that is taken which is taken only of
// one that had not. Needs no database.
void seat_let_go(struct seat *s, const char *data);

// Write down what was heard. KB_UNAVAILABLE: the database cannot be reached now, it is tried again.
enum kb_code seat_write_job(struct seat *s, struct store *store, struct kb_error *err);
enum kb_code seat_write_asset(struct seat *s, struct store *store, struct kb_error *err);
// The next one, if there is one: KB_EOF.
enum kb_code seat_give_job(struct seat *s, struct store *store, int64_t min_free_bytes,
                           struct kb_error *err);
enum kb_code seat_give_asset(struct seat *s, struct store *store, struct kb_error *err);
// The line's message of a job, or of what is like one. NULL: *error says why.
json_t *seat_pack_job(const struct seat *s, json_error_t *error);
// Subtitles are to be made of what its speech says: the words, JSON ("": they are not known), go
// into the worker's folder. Without them it says so itself.
bool seat_wants_words(const struct seat *s);
void seat_lend_words(const struct seat *s, const char *data, const char *words);
// A preview, which has the line's messages of a job. None of it is in the database.
void seat_give_preview(struct seat *s, struct previews *previews, const char *data);
void seat_write_preview(struct seat *s, struct previews *previews, const char *data);
// Its process is gone. reason: as in sweep_worker_lost(); NULL: the server is ending.
void seat_lose_preview(struct seat *s, struct previews *previews, const char *data);
// All files that are there, and those that nobody wants any more.
void seat_clear_previews(const char *data);
void seat_sweep_previews(struct previews *previews, const char *data);
// It was written down, or is somebody else's.
void seat_drop(struct seat *s);

// --- the worker's folder (harvest.c). data: the data folder

// Make it, or take out of it what a worker left there, whatever it is called.
enum kb_code harvest_clear(const char *data, const char *folder, struct kb_error *err);
// Those of a worker with that folder, made anew where they are missing.
void harvest_places(const char *data, const char *folder, struct places *ret);
// What the next job may read of the caches lies there, too: links, by the server alone.
void harvest_lend(const struct seat *s, const char *data);
// The result goes to its place below results/, whose folders are made anew if they are gone.
// KB_NO_SPACE; KB_INTERNAL: it is not there, or no file of the worker's alone; KB_EOF: it is on its
// way to another disk, on a thread of its own (s->copy): ask again.
enum kb_code harvest_result(struct seat *s, const char *data, struct kb_error *err);
// What is on its way is given up. Waits for what cannot be broken off.
void harvest_cancel(struct seat *s);
// A file of the worker's alone goes elsewhere below the data folder, in the place of what was
// there. tail: ".mp4". False: there is none.
bool harvest_file(const struct seat *s, const char *data, const char *tail, const char *to);
// A picture, to a path below the data folder. False: there is none.
bool harvest_picture(const struct seat *s, const char *data, const char *to);
// Tracks of the job's films, and styles.
void harvest_tracks(const struct seat *s, const char *data);
// The packed network of the job's model, from a worker that is clean.
void harvest_networks(const struct seat *s, const char *data);

#endif
