// Lines for people, on stderr and (when opened) in one file that several processes share.
// The only global state of the program. Thread-safe.
//
// Who is called returns what went wrong as an error, and says nothing: who called knows whether it
// matters. A line is for what has no caller to tell, or is no error: what a command, the server, a
// request, a worker, the outbox and a deletion in the queue do on their own, and what the engine
// and a dub decided (which precision, whose way of speaking). All other rooms are silent;
// tools/check_includes.sh holds that.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

// Where a server and its workers write, below the data folder.
#define LOG_FILE "logs/koubo.log"

enum log_level {
    LOG_ERROR,
    LOG_WARN,
    LOG_INFO,
    LOG_VERBOSE, // -v: more for users, in their language
    LOG_DEBUG,   // -vv: for developers, in English; never once a frame
};

// Lines above this level are dropped. Default LOG_INFO.
void log_set_level(enum log_level level);
enum log_level log_level(void);

// One line, no newline in fmt. Errors and warnings are prefixed in the user's language.
void log_line(enum log_level level, const char *fmt, ...) KB_PRINTF(2, 3);

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)    log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_verbose(...) log_line(LOG_VERBOSE, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

// A bar that is drawn again and again stands on the terminal's last line: lines erase it first, so
// that they do not begin behind it.
void log_over_bar(bool bar);

// Who writes, on every line of the file from now on: "serve", "w1", … For the process; copied.
void log_set_source(const char *source);
// A line that another process said while it was at that job (0 = none). Whatever it holds, it is
// one line of the file and the terminal: control characters become blanks.
void log_line_of(const char *source, int64_t job, enum log_level level, const char *text);

// Lines go to sink, and neither to stderr nor into a file: those of a worker go to its server.
// NULL: as before. Not while other threads log.
typedef void log_sink_fn(void *opaque, enum log_level level, const char *text);
void log_send_to(log_sink_fn *sink, void *opaque);

// Append every line to path below folder too, without following a link on the way there
// (base/beneath.h). json: one object a line,
//   {"time":"2026-11-23T06:29:31.123Z","level":"info","source":"w1","job":12,"text":"…"}
// else  2026-11-23T06:29:31.123Z info  w1 #12 …   ("#-" where there is no job).
// Several processes may append to one path: a line is one write. Whoever set max_bytes > 0 renames
// a file that has grown beyond it to path.1 (path.1 to path.2 … up to path.4); the others notice
// and follow. KB_BAD_INPUT, KB_NO_SPACE when it cannot be opened. A disk that fills up later loses
// lines and nothing else.
enum kb_code log_open(const char *folder, const char *path, bool json, int64_t max_bytes,
                      struct kb_error *err);
void log_close(void);

// One line of the file taken apart, either form; the strings point into line, which is changed.
struct log_entry {
    const char *time, *source, *text;
    enum log_level level;
    int64_t job;
};
bool log_parse(char *line, struct log_entry *ret);
const char *log_level_name(enum log_level level); // "error", "warn", "info", "verbose", "debug"
bool log_level_parse(const char *name, enum log_level *ret);

#endif
