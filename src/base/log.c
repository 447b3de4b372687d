#include "base/log.h"

#include "base/beneath.h"
#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OLD_FILES 4

static atomic_int max_level = LOG_INFO;
static atomic_bool over_bar;

static struct {
    pthread_mutex_t lock;
    // --- under the lock
    char *folder, *path; // path lies below folder; NULL = no file
    int fd;
    bool json;
    int64_t max_bytes;
    char source[32];
} file = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .source = "-"};

static struct {
    log_sink_fn *fn;
    void *opaque;
} sink;

static const char *const level_names[] = {"error", "warn", "info", "verbose", "debug"};

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_level_parse(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load(&max_level);
}

void log_over_bar(bool bar)
{
    atomic_store(&over_bar, bar);
}

void log_set_source(const char *source)
{
    pthread_mutex_lock(&file.lock);
    snprintf(file.source, sizeof(file.source), "%s", source);
    pthread_mutex_unlock(&file.lock);
}

void log_send_to(log_sink_fn *fn, void *opaque)
{
    sink.fn = fn;
    sink.opaque = opaque;
}

// --- the file; all of it under the lock

static int open_file(const char *folder, const char *path)
{
    return beneath_open(folder, path, O_WRONLY | O_APPEND | O_CREAT, 0640);
}

static void rotate(void)
{
    for (int i = OLD_FILES; i >= 1; i--) {
        CLEANUP(kb_freep) char *from = i > 1 ? kb_printf("%s.%d", file.path, i - 1) : NULL;
        CLEANUP(kb_freep) char *to = kb_printf("%s.%d", file.path, i);
        beneath_rename(file.folder, from ? from : file.path, to);
    }
}

// Another process may have renamed the file, or this one has to.
static void follow_file(void)
{
    struct stat ours, named;
    if (fstat(file.fd, &ours) != 0)
        return;
    if (file.max_bytes > 0 && ours.st_size > file.max_bytes)
        rotate();
    if (beneath_stat(file.folder, file.path, &named) && named.st_ino == ours.st_ino)
        return;
    int fd = open_file(file.folder, file.path);
    if (fd >= 0) {
        close(file.fd);
        file.fd = fd;
    }
}

static void add_json_string(struct text *t, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            text_addf(t, "\\%c", c);
        else if (c < 0x20)
            text_addf(t, "\\u%04x", c);
        else
            text_add_bytes(t, s, 1);
    }
}

static void write_file(const char *source, int64_t job, enum log_level level, const char *line)
{
    struct timespec now;
    struct tm tm;
    char date[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    long ms = now.tv_nsec / 1000000;

    CLEANUP(text_free) struct text t = {0};
    if (file.json) {
        text_addf(&t, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"source\":\"%s\",\"job\":%lld,",
                  date, ms, level_names[level], source, (long long)job);
        text_add(&t, "\"text\":\"");
        add_json_string(&t, line);
        text_add(&t, "\"}\n");
    } else {
        text_addf(&t, "%s.%03ldZ %-7s %s ", date, ms, level_names[level], source);
        if (job)
            text_addf(&t, "#%lld ", (long long)job);
        else
            text_add(&t, "#- ");
        for (const char *s = line; *s; s++) // a file name may hold a line break
            text_add_bytes(&t, (unsigned char)*s < 0x20 ? " " : s, 1);
        text_add(&t, "\n");
    }
    follow_file();
    ssize_t ignored = write(file.fd, t.data, t.size); // a full disk loses lines, nothing else
    (void)ignored;
}

enum kb_code log_open(const char *folder, const char *path, bool json, int64_t max_bytes,
                      struct kb_error *err)
{
    int fd = open_file(folder, path);
    if (fd < 0)
        return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot write the log '%s/%s': %s; take away what is there, or choose "
                         "another data folder with --data"),
                       folder, path, beneath_reason(errno));
    log_close();
    pthread_mutex_lock(&file.lock);
    file.folder = kb_strdup(folder);
    file.path = kb_strdup(path);
    file.fd = fd;
    file.json = json;
    file.max_bytes = max_bytes;
    pthread_mutex_unlock(&file.lock);
    return KB_OK;
}

void log_close(void)
{
    pthread_mutex_lock(&file.lock);
    if (file.fd >= 0)
        close(file.fd);
    file.fd = -1;
    kb_freep(&file.folder);
    kb_freep(&file.path);
    pthread_mutex_unlock(&file.lock);
}

// source: NULL = this process.
static void put_line(const char *source, int64_t job, enum log_level level, const char *line)
{
    const char *prefix = "";
    if (level == LOG_ERROR)
        prefix = _("error: ");
    else if (level == LOG_WARN)
        prefix = _("warning: ");
    CLEANUP(kb_freep) char *shown = kb_strdup(line);
    for (char *c = shown; *c; c++) // a file name may hold what a terminal takes for a command
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    // One call, so lines of two threads do not mix.
    fprintf(stderr, "%skoubo: %s%s\n", atomic_load(&over_bar) ? "\r\033[K" : "", prefix, shown);

    pthread_mutex_lock(&file.lock);
    if (file.fd >= 0)
        write_file(source ? source : file.source, job, level, line);
    pthread_mutex_unlock(&file.lock);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if ((int)level > atomic_load(&max_level))
        return;
    char line[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    utf8_mend(line, sizeof(line));
    if (sink.fn)
        sink.fn(sink.opaque, level, line);
    else
        put_line(NULL, 0, level, line);
}

void log_line_of(const char *source, int64_t job, enum log_level level, const char *text)
{
    if ((int)level > atomic_load(&max_level))
        return;
    CLEANUP(kb_freep) char *line = utf8_clean(text);
    for (char *c = line; *c; c++) {
        bool high = (unsigned char)c[0] == 0xC2 && (unsigned char)c[1] < 0xA0; // U+0080 to U+009F
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
        else if (high)
            c[0] = c[1] = ' ';
    }
    put_line(source, job, level, line);
}

// --- reading it again

// The word at *rest, which moves behind it; "" at the end.
static char *take_word(char **rest)
{
    char *word = *rest + strspn(*rest, " ");
    size_t n = strcspn(word, " ");
    *rest = word + n;
    if (**rest)
        *(*rest)++ = '\0';
    return word;
}

static bool parse_text(char *line, struct log_entry *ret)
{
    char *rest = line;
    ret->time = take_word(&rest);
    bool known = log_level_parse(take_word(&rest), &ret->level);
    ret->source = take_word(&rest);
    const char *job = take_word(&rest);
    ret->text = rest;
    ret->job = job[0] == '#' ? strtoll(job + 1, NULL, 10) : 0;
    return known && job[0] == '#';
}

// The value of "name": in a line that write_file() made; strings are unescaped in place.
static char *take_value(char *line, const char *name)
{
    CLEANUP(kb_freep) char *mark = kb_printf("\"%s\":", name);
    char *at = strstr(line, mark);
    if (!at)
        return NULL;
    at += strlen(mark);
    if (*at != '"')
        return at;
    char *value = ++at, *to = at;
    while (*at && *at != '"') {
        unsigned code;
        if (at[0] == '\\' && at[1] == 'u' && sscanf(at + 2, "%4x", &code) == 1) {
            *to++ = ' ';
            at += strnlen(at, 6);
        } else {
            at += at[0] == '\\' && at[1];
            *to++ = *at++;
        }
    }
    *to = '\0';
    return value;
}

static bool parse_json(char *line, struct log_entry *ret)
{
    // From the back, because taking a value apart changes the line behind its mark.
    ret->text = take_value(line, "text");
    const char *job = take_value(line, "job");
    ret->job = job ? strtoll(job, NULL, 10) : 0;
    ret->source = take_value(line, "source");
    const char *level = take_value(line, "level");
    ret->time = take_value(line, "time");
    return ret->text && ret->source && ret->time && level && log_level_parse(level, &ret->level);
}

bool log_parse(char *line, struct log_entry *ret)
{
    line[strcspn(line, "\n")] = '\0';
    return line[0] == '{' ? parse_json(line, ret) : parse_text(line, ret);
}
