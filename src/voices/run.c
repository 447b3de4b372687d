// One sentence from a program. No shell is involved: what stands in the place of {text_file},
// {out}, {voice} and {speed} is one argument or a part of one, whatever is in it.
#include "voices/internal.h"

#include "base/file.h"
#include "base/place.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_BYTES 4000 // of what it prints to stderr

struct run {
    char *folder, *text_file, *out;
    char speed[16];
    const char *voice;
    bool names_out;
    char **argv;
};

static void run_end(struct run *r)
{
    for (char **arg = r->argv; arg && *arg; arg++)
        free(*arg);
    free(r->argv);
    free(r->text_file);
    free(r->out);
    place_end(&r->folder);
}

static char *fill(struct run *r, const char *argument)
{
    const struct {
        const char *name, *value;
    } places[] = {{"{text_file}", r->text_file},
                  {"{out}", r->out},
                  {"{voice}", r->voice},
                  {"{speed}", r->speed}};
    struct text ret = {0};
    text_add(&ret, "");
    while (*argument) {
        size_t i = 0;
        while (i < ARRAY_LEN(places) && !text_begins(argument, places[i].name))
            i++;
        if (i < ARRAY_LEN(places)) {
            text_add(&ret, places[i].value);
            argument += strlen(places[i].name);
            r->names_out = r->names_out || i == 1;
        } else {
            text_add_bytes(&ret, argument++, 1);
        }
    }
    return ret.data ? ret.data : kb_strdup("");
}

static enum kb_code prepare(struct run *r, const json_t *voice, const char *sentence,
                            const struct voice_wish *wish, struct kb_error *err)
{
    const json_t *command = json_object_get(voice, "command");
    size_t n = json_array_size(command);
    enum kb_code code = place_make(&r->folder, "koubo-voice", err);
    if (code != KB_OK)
        return code;
    r->text_file = path_join(r->folder, "text.txt");
    r->out = path_join(r->folder, "speech.wav");
    r->voice = voice_text(voice, "voice");
    snprintf(r->speed, sizeof(r->speed), "%.3g", wish->speed > 0 ? wish->speed : 1.0);
    r->argv = kb_alloc((n + 1) * sizeof(*r->argv));
    for (size_t i = 0; i < n; i++)
        r->argv[i] = fill(r, json_string_value(json_array_get(command, i)));
    return file_write_cached(r->text_file, sentence, strlen(sentence), err);
}

// In the child, which shares nothing with us but what it is given.
static void become(const struct run *r, const int pipes[2], int text)
{
    const struct rlimit size = {ANSWER_BYTES, ANSWER_BYTES}, no_core = {0, 0};
    setpgid(0, 0);
    setrlimit(RLIMIT_FSIZE, &size);
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(text, 0);
    dup2(pipes[0], 1);
    dup2(pipes[1], 2);
    close_range(3, ~0U, 0);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir(r->folder) == 0)
        execvp(r->argv[0], r->argv);
    _exit(127);
}

struct ear {
    int fd;
    struct text *to;
    size_t most;
    bool too_long;
};

// False: it is silent for ever.
static bool hear(struct ear *e)
{
    char buffer[16384];
    ssize_t n = read(e->fd, buffer, sizeof(buffer));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    e->too_long = e->too_long || (size_t)n > e->most - e->to->size;
    text_add_bytes(e->to, buffer, KB_MIN((size_t)n, e->most - e->to->size));
    return n > 0;
}

// It stays a zombie, so that its number, and that of its group, are nobody else's.
static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

// Until the program has ended and what it said was heard, whatever it started lives on; its time is
// over; or it says too much. False: it is to be killed, *ret_late says whether for its time.
static bool listen_to(pid_t pid, struct ear ears[2], int64_t until_us, const struct cancel *cancel,
                      bool *ret_late)
{
    bool open[2] = {true, true};
    while (true) {
        struct pollfd fds[2];
        bool over = has_ended(pid);
        for (int i = 0; i < 2; i++)
            fds[i] = (struct pollfd){.fd = open[i] ? ears[i].fd : -1, .events = POLLIN};
        int n = poll(fds, 2, over ? 0 : open[0] || open[1] ? 50 : 10);
        if (over && n == 0)
            return true;
        for (int i = 0; i < 2; i++)
            if (fds[i].revents)
                open[i] = hear(&ears[i]);
        *ret_late = kb_now_us() > until_us;
        if (*ret_late || cancel_requested(cancel) || ears[0].too_long)
            return false;
    }
}

struct ends {
    int out[2], said[2], text;
};

static void close_ends(struct ends *e)
{
    const int fds[] = {e->out[0], e->out[1], e->said[0], e->said[1], e->text};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

// The program from its start to its end. *ret_status as of waitpid(); what it printed into printed
// and said.
static enum kb_code run(const struct run *r, const json_t *voice, const struct voice_wish *wish,
                        struct text *printed, struct text *said, int *ret_status,
                        struct kb_error *err)
{
    struct ends e = {{-1, -1}, {-1, -1}, open(r->text_file, O_RDONLY | O_CLOEXEC)};
    if (e.text < 0 || pipe2(e.out, O_CLOEXEC) != 0 || pipe2(e.said, O_CLOEXEC) != 0) {
        close_ends(&e);
        return kb_fail(err, KB_NO_SPACE, _("cannot start '%s': %s"), r->argv[0],
                       kb_strerror(errno));
    }
    int64_t until_us = kb_now_us() + voice_timeout_s(voice) * INT64_C(1000000);
    pid_t pid = fork();
    if (pid == 0)
        become(r, (const int[]){e.out[1], e.said[1]}, e.text);
    close(e.out[1]);
    close(e.said[1]);
    e.out[1] = e.said[1] = -1;
    struct ear ears[2] = {{e.out[0], printed, ANSWER_BYTES, false},
                          {e.said[0], said, SAID_BYTES, false}};
    bool late = false;
    bool ended = pid > 0 && listen_to(pid, ears, until_us, wish->cancel, &late);
    if (pid > 0) {
        kill(-pid, SIGKILL); // what it started goes with it, however it ended
        if (!ended)
            kill(pid, SIGKILL);
        while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR) {
        }
    }
    close_ends(&e);
    if (pid < 0)
        return kb_fail(err, KB_NO_SPACE, _("cannot start '%s': %s"), r->argv[0],
                       kb_strerror(errno));
    if (cancel_requested(wish->cancel))
        return cancel_check(wish->cancel, err);
    if (ears[0].too_long)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the program of the voice '%s' wrote more than %d MB for one sentence"),
                       voice_text(voice, "name"), ANSWER_BYTES >> 20);
    return ended
               ? KB_OK
               : kb_fail(err, KB_UNAVAILABLE,
                         _("the program of the voice '%s' did not end in %d seconds; \"timeout_s\" "
                           "gives it more"),
                         voice_text(voice, "name"), voice_timeout_s(voice));
}

static enum kb_code take_file(const struct run *r, const char *name, struct text *ret,
                              struct kb_error *err)
{
    int fd = open(r->out, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    enum kb_code code = KB_OK;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        code =
            kb_fail(err, KB_UNAVAILABLE, _("the program of the voice '%s' wrote no sound"), name);
    else if (st.st_size > ANSWER_BYTES || !text_hear(ret, fd, ANSWER_BYTES, 60000000, NULL))
        code = kb_fail(err, KB_BAD_INPUT,
                       _("the program of the voice '%s' wrote more than %d MB for one sentence"),
                       name, ANSWER_BYTES >> 20);
    if (fd >= 0)
        close(fd);
    return code;
}

enum kb_code voice_run(const json_t *voice, const char *sentence, const struct voice_wish *wish,
                       struct text *ret, struct kb_error *err)
{
    CLEANUP(run_end) struct run r = {0};
    CLEANUP(text_free) struct text printed = {0}, said = {0};
    const char *name = voice_text(voice, "name");
    int status = 0;
    enum kb_code code = prepare(&r, voice, sentence, wish, err);
    if (code == KB_OK)
        code = run(&r, voice, wish, &printed, &said, &status, err);
    if (code != KB_OK)
        return code;
    if (status != 0) {
        bool missing = WIFEXITED(status) && WEXITSTATUS(status) == 127 && said.size == 0;
        CLEANUP(kb_freep) char *words = voice_words(voice, text_get(&said), said.size);
        return missing
                   ? kb_fail(err, KB_UNAVAILABLE,
                             _("the voice '%s' needs the program '%s', which cannot be started"),
                             name, r.argv[0])
                   : kb_fail(err, KB_UNAVAILABLE,
                             _("the program of the voice '%s' failed (%d): %s"), name,
                             WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
                             *words ? words : "-");
    }
    if (r.names_out)
        return take_file(&r, name, ret, err);
    if (printed.size == 0)
        return kb_fail(err, KB_UNAVAILABLE, _("the program of the voice '%s' wrote no sound"),
                       name);
    *ret = printed;
    printed = (struct text){0};
    return KB_OK;
}
