#include "cli/cli.h"

#include "base/log.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A signal handler reaches nothing else.
static struct cancel process_cancel;

struct cancel *cli_cancel(void)
{
    return &process_cancel;
}

static void on_signal(int number)
{
    if (cancel_requested(&process_cancel))
        _exit(EXIT_CANCELLED);
    cancel_request(&process_cancel);
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    // A closed pipe or a file over the size limit is an error of the write, not a death that leaves
    // half a file behind.
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

int cli_report(enum kb_code code, const struct kb_error *err)
{
    switch (code) {
    case KB_OK:
        return EXIT_OK;
    case KB_CANCELLED:
        log_warn("%s", _("cancelled; nothing half done was left behind"));
        return EXIT_CANCELLED;
    case KB_EOF:
    case KB_INTERNAL:
        break;
    case KB_BAD_INPUT:
    case KB_NOT_FOUND:
        log_error("%s", err->text);
        return EXIT_BAD_INPUT;
    case KB_NO_SPACE:
        log_error("%s", err->text);
        return EXIT_NO_SPACE;
    case KB_UNAVAILABLE:
        log_error("%s", err->text);
        return EXIT_UNAVAILABLE;
    }
    log_error("%s", err->text[0] ? err->text : _("an internal error without a description"));
    return EXIT_FAILED;
}

bool cli_can_ask(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

// A line of the standard input without its end. False: there was none, or Ctrl-C.
static bool read_answer(char *ret, size_t size)
{
    for (size_t n = 0; !cancel_requested(&process_cancel);) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        char c;
        if (poll(&p, 1, 200) <= 0)
            continue;
        if (read(STDIN_FILENO, &c, 1) != 1)
            return false;
        if (c == '\n') {
            ret[n] = '\0';
            return true;
        }
        if (n + 1 < size)
            ret[n++] = c;
    }
    return false;
}

bool cli_ask(const char *question)
{
    char answer[64];
    fprintf(stderr, _("%s [y/N] "), question);
    fflush(stderr);
    if (!read_answer(answer, sizeof(answer))) {
        fputc('\n', stderr);
        return false;
    }
    static const char *const yes[] = {"y", "Y", "yes", "Yes", "YES", "是", "好"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (strcmp(answer, yes[i]) == 0)
            return true;
    return false;
}

int cli_close_output(int status)
{
    if (fflush(stdout) == 0 || status != EXIT_OK)
        return status;
    log_error("%s", _("cannot write to the standard output; is the disk full?"));
    return EXIT_NO_SPACE;
}

bool cli_set_log_level(void)
{
    enum log_level level = LOG_INFO;
    const char *name = getenv("KOUBO_LOG");
    if (name && *name && !log_level_parse(name, &level))
        return false;
    log_set_level(level);
    return true;
}

int cli_report_failed(size_t n_failed, size_t n)
{
    if (n_failed == 0)
        return EXIT_OK;
    log_error(_("%zu of %zu videos failed; the lines above say why"), n_failed, n);
    return EXIT_SOME_FAILED;
}

// Levenshtein distance, for words of fewer than 32 letters.
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[33], n = strlen(b);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = KB_MIN(change, KB_MIN(row[j], diagonal) + 1);
        }
    }
    return row[n];
}

const char *cli_nearest(const char *word, const char *const *names, size_t n_names)
{
    size_t best = (strlen(word) + 2) / 3 + 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < n_names && strlen(word) < 32; i++) {
        size_t d = strlen(names[i]) < 32 ? edit_distance(word, names[i]) : SIZE_MAX;
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}
