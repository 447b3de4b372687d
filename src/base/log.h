// Lines for people, on stderr and (when opened) in one file. The only global state of the program.
// Only cli/, server/ and job/ log; lower layers return errors. Thread-safe.
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_VERBOSE, LOG_DEBUG };

// Lines above this level are dropped. Default LOG_INFO.
void log_set_level(enum log_level level);

// One line, no newline in fmt. Errors and warnings are prefixed in the user's language.
void log_line(enum log_level level, const char *fmt, ...) KB_PRINTF(2, 3);

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)    log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_verbose(...) log_line(LOG_VERBOSE, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

#endif
