#include "cli/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 4096

void secret_take(struct secret *s, char *arg)
{
    free(s->value);
    s->value = kb_strdup(arg);
    s->was_seen = true;
    memset(arg, '*', strlen(arg));
}

// The first line of a file, a new string.
static enum kb_code read_line(const char *path, char **ret, struct kb_error *err)
{
    char line[LINE_BYTES] = "";
    FILE *f = fopen(path, "re");
    if (!f)
        return kb_fail(err, errno == ENOENT ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("cannot open '%s', the file of the token or address: %s"), path,
                       kb_strerror(errno));
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    size_t end = strcspn(line, "\r\n");
    if (end == 0 || end == sizeof(line) - 1 || (end == n && memchr(line, '\0', n)))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the file '%s' must begin with a line of at most %d bytes that is the "
                         "token or address"),
                       path, LINE_BYTES - 2);
    line[end] = '\0';
    *ret = kb_strdup(line);
    return KB_OK;
}

enum kb_code secret_settle(struct secret *s, const char *variable, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    char *shown = getenv(variable);
    if (s->file) {
        kb_freep(&s->value);
        s->was_seen = false;
        code = read_line(s->file, &s->value, err);
    } else if (!s->value) {
        s->value = kb_strdup(shown);
    }
    if (shown) // /proc/PID/environ is this very memory
        memset(shown, '*', strlen(shown));
    unsetenv(variable);
    if (s->value && !*s->value)
        kb_freep(&s->value);
    return code;
}

void secret_free(struct secret *s)
{
    kb_freep(&s->value);
}
