#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int max_level = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if ((int)level > atomic_load(&max_level))
        return;
    const char *prefix = "";
    if (level == LOG_ERROR)
        prefix = _("error: ");
    else if (level == LOG_WARN)
        prefix = _("warning: ");

    char line[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    // One call, so lines of two threads do not mix.
    fprintf(stderr, "koubo: %s%s\n", prefix, line);
}
