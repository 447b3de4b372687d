#include "worker/line.h"

#include "base/sentence.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum kb_code line_pair(int ret[2], struct kb_error *err)
{
    const int bytes = 2 * LINE_BYTES; // the kernel counts its own needs too
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) != 0)
        return kb_fail(err, KB_NO_SPACE, _("no process can be started: %s"), kb_strerror(errno));
    for (int i = 0; i < 2; i++)
        setsockopt(ret[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    return KB_OK;
}

bool line_send(int fd, bool now, json_t *message)
{
    CLEANUP(kb_freep) char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    json_decref(message);
    size_t n = text ? strlen(text) : 0;
    return n > 0 && n <= LINE_BYTES &&
           send(fd, text, n, MSG_NOSIGNAL | (now ? MSG_DONTWAIT : 0)) == (ssize_t)n;
}

bool line_is_closed_to(const json_t *message, const json_error_t *error)
{
    return message ? json_dumpb(message, NULL, 0, JSON_COMPACT) > LINE_BYTES
                   : json_error_code(error) == json_error_invalid_utf8;
}

enum line_state line_receive(int fd, json_t **ret)
{
    ssize_t n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? LINE_NOTHING : LINE_ENDED;
    if (n == 0)
        return LINE_ENDED;
    CLEANUP(kb_freep) char *buffer = n <= LINE_BYTES ? malloc((size_t)n) : NULL;
    if (!buffer || recv(fd, buffer, (size_t)n, MSG_DONTWAIT) != n)
        return LINE_BAD;
    json_t *message = json_loadb(buffer, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(message)) {
        json_decref(message);
        return LINE_BAD;
    }
    *ret = message;
    return LINE_MESSAGE;
}

size_t line_waiting(int fd)
{
    ssize_t n = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

const char *line_is(const json_t *message)
{
    const char *is = json_string_value(json_object_get(message, "is"));
    return is ? is : "";
}

json_t *line_error(const char *is, const struct kb_error *why)
{
    CLEANUP(kb_freep) char *kept = sentence_of(why);
    return json_pack("{s:s, s:i, s:s}", "is", is, "code", (int)why->code, "why", kept);
}

bool line_read_error(const json_t *message, struct kb_error *ret)
{
    const char *is, *kept;
    int code;
    if (json_unpack_ex((json_t *)message, NULL, JSON_STRICT, "{s:s, s:i, s:s}", "is", &is, "code",
                       &code, "why", &kept) != 0 ||
        code < KB_CANCELLED || code > KB_INTERNAL || strlen(kept) >= sizeof(ret->kept))
        return false;
    sentence_fail(ret, (enum kb_code)code, kept);
    return true;
}

// --- what can be

#define MOST_FRAMES  (INT64_C(1) << 40)
#define MOST_SECONDS 1e8
#define MOST_PIXELS  65536 // of a side

static bool in(double value, double low, double high)
{
    return isfinite(value) && value >= low && value <= high;
}

bool line_report_is_sane(const struct job_report *r)
{
    return (int)r->stage >= 0 && (int)r->stage < N_STAGES && r->done >= 0 &&
           r->done <= MOST_FRAMES && r->total >= 0 && r->total <= MOST_FRAMES && in(r->fps, 0, 1e6);
}

bool line_result_is_sane(const struct dub_result *r)
{
    for (int i = 0; i < N_STAGES; i++)
        if (!in(r->stage_s[i], 0, MOST_SECONDS))
            return false;
    return r->frames >= 1 && r->frames <= MOST_FRAMES && r->frames_animated >= 0 &&
           r->frames_animated <= r->frames && in(r->seconds, 0, MOST_SECONDS) &&
           in(r->from_s, 0, MOST_SECONDS) && in(r->width, 1, MOST_PIXELS) &&
           in(r->height, 1, MOST_PIXELS);
}
