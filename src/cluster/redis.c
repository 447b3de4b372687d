#include "cluster/redis.h"

#include "cluster/internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS    5000
#define FIRST_WAIT_MS 100 // between two attempts to connect
#define LONGEST_MS    5000
#define ANSWER_TIMES  20 // so many timeouts an answer may take that comes drop by drop
#define CHUNK         65536
#define MAX_QUOTED    200 // letters of an error of Redis

struct redis {
    struct redis_address address;
    int timeout_ms;
    const struct cancel *cancel;
    struct redis_link *link; // NULL: not connected
    struct redis_answer *answer;
    struct text noted;
    int n_noted;
    int wait_ms;          // before the next attempt to connect
    int64_t next_us;      // when that may be
    struct kb_error last; // why it is not connected
    char chunk[CHUNK];
};

// --- the connection

static void hang_up(struct redis *r)
{
    redis_link_close(&r->link);
    redis_answer_free(&r->answer);
}

// The connection cannot be used any more, or did not come about.
static enum kb_code lost(struct redis *r, const struct kb_error *why, struct kb_error *err)
{
    hang_up(r);
    if (err)
        *err = *why;
    if (why->code == KB_CANCELLED)
        return KB_CANCELLED;
    r->wait_ms = KB_MIN(KB_MAX(2 * r->wait_ms, FIRST_WAIT_MS), LONGEST_MS);
    r->next_us = kb_now_us() + (int64_t)r->wait_ms * 1000;
    r->last = *why;
    return why->code;
}

// Sends and receives what can be now.
static bool pass(struct redis *r, const char **out, size_t *n_out, bool *ret_moved)
{
    size_t n = 0;
    *ret_moved = false;
    if (*n_out > 0) {
        if (!redis_link_send(r->link, *out, *n_out, &n))
            return false;
        *out += n;
        *n_out -= n;
        *ret_moved = n > 0;
    }
    if (!redis_link_receive(r->link, r->chunk, sizeof(r->chunk), &n))
        return false;
    *ret_moved = *ret_moved || n > 0;
    redis_answer_feed(r->answer, r->chunk, n); // if it is none, the next look at it says so
    return true;
}

// The next answer, while what is left of out goes. A failure has closed the connection.
static enum kb_code receive(struct redis *r, const char **out, size_t *n_out, int wait_ms,
                            redisReply **ret, struct kb_error *err)
{
    int64_t now = kb_now_us(), span = (int64_t)(r->timeout_ms + wait_ms) * 1000;
    int64_t silent = now + span, end = now + span + (int64_t)r->timeout_ms * 1000 * ANSWER_TIMES;
    for (;;) {
        bool moved = false;
        enum kb_code code = cancel_check(r->cancel, err);
        struct kb_error why = {0};
        if (code != KB_OK) {
            hang_up(r);
            return code;
        }
        if (!redis_answer_next(r->answer, ret))
            code = kb_fail(&why, KB_UNAVAILABLE, _("what answers at %s is no Redis"),
                           r->address.place);
        else if (*ret)
            return KB_OK;
        else if (!pass(r, out, n_out, &moved))
            code = kb_fail(&why, KB_UNAVAILABLE, _("the connection to Redis at %s broke off"),
                           r->address.place);
        now = kb_now_us();
        if (moved)
            silent = now + span;
        else if (code == KB_OK && now >= KB_MIN(silent, end))
            code = kb_fail(&why, KB_UNAVAILABLE, _("Redis at %s did not answer in time"),
                           r->address.place);
        if (code != KB_OK)
            return lost(r, &why, err);
        if (!moved)
            redis_link_wait(r->link, *n_out > 0, (int)((silent - now) / 1000) + 1);
    }
}

// --- what answers say

static bool is_word(const redisReply *reply, const char *word)
{
    size_t n = strlen(word);
    return reply->len >= n && memcmp(reply->str, word, n) == 0 &&
           (reply->len == n || reply->str[n] == ' ');
}

// Is it an error that begins with one of the words?
static bool is_one_of(const redisReply *reply, const char *const *words)
{
    for (; reply->type == REDIS_REPLY_ERROR && *words; words++)
        if (is_word(reply, *words))
            return true;
    return false;
}

// It is a replica now, or has lost its master.
static const char *const elsewhere[] = {"READONLY", "MASTERDOWN", NULL};

// KB_OK for what is no error.
static enum kb_code judge(const struct redis *r, const redisReply *reply, struct kb_error *err)
{
    static const char *const refused[] = {"NOAUTH", "WRONGPASS", "NOPERM", NULL};
    static const char *const not_now[] = {"LOADING",  "BUSY",    "NOREPLICAS", "CLUSTERDOWN",
                                          "TRYAGAIN", "MISCONF", "OOM",        NULL};
    if (reply->type != REDIS_REPLY_ERROR)
        return KB_OK;
    char text[MAX_QUOTED + 1];
    size_t n = KB_MIN(reply->len, (size_t)MAX_QUOTED);
    for (size_t i = 0; i < n; i++)
        text[i] = reply->str[i] >= ' ' && reply->str[i] <= '~' ? reply->str[i] : '?';
    text[n] = '\0';
    enum kb_code code = is_one_of(reply, refused)                                  ? KB_BAD_INPUT
                        : is_one_of(reply, not_now) || is_one_of(reply, elsewhere) ? KB_UNAVAILABLE
                                                                                   : KB_INTERNAL;
    return kb_fail(err, code, _("Redis at %s answers: %s"), r->address.place, text);
}

// Sends the commands and takes as many answers: *ret is the last one's, and the first error is
// told when all have come.
static enum kb_code talk(struct redis *r, const char *out, size_t n_out, int n, int wait_ms,
                         redisReply **ret, struct kb_error *err)
{
    enum kb_code first = KB_OK;
    bool is_elsewhere = false;
    struct kb_error why = {0};
    redisReply *reply = NULL;
    if (!redis_answer_next(r->answer, &reply) || reply) { // to what nobody asked
        freeReplyObject(reply);
        kb_fail(&why, KB_UNAVAILABLE, _("what answers at %s is no Redis"), r->address.place);
        return lost(r, &why, err);
    }
    for (int i = 0; i < n; i++) {
        freeReplyObject(reply);
        reply = NULL;
        enum kb_code code = receive(r, &out, &n_out, wait_ms, &reply, err);
        if (code != KB_OK)
            return code;
        if (first == KB_OK)
            first = judge(r, reply, &why);
        is_elsewhere = is_elsewhere || is_one_of(reply, elsewhere);
    }
    if (ret && first == KB_OK)
        *ret = reply;
    else
        freeReplyObject(reply);
    if (is_elsewhere) // under the same name another may be found that takes what is written
        return lost(r, &why, err);
    if (first != KB_OK && err)
        *err = why;
    return first;
}

// One command, on the connection that there is. Its bytes are forgotten.
__attribute__((format(printf, 5, 0))) static enum kb_code say(struct redis *r, redisReply **ret,
                                                              int wait_ms, struct kb_error *err,
                                                              const char *format, va_list args)
{
    char *command = NULL;
    int n = redisvFormatCommand(&command, format, args);
    if (n <= 0)
        return kb_fail(err, KB_INTERNAL, "a command for Redis cannot be written: '%s'", format);
    enum kb_code code = talk(r, command, (size_t)n, 1, wait_ms, ret, err);
    explicit_bzero(command, (size_t)n);
    redisFreeCommand(command);
    return code;
}

static enum kb_code greet_with(struct redis *r, struct kb_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum kb_code code = say(r, NULL, 0, err, format, args);
    va_end(args);
    return code;
}

static enum kb_code greet(struct redis *r, struct kb_error *err)
{
    const struct redis_address *a = &r->address;
    enum kb_code code = KB_OK;
    // Whatever it says to a password may quote it.
    if (a->user)
        code = greet_with(r, err, "AUTH %s %s", a->user, a->password);
    else if (a->password)
        code = greet_with(r, err, "AUTH %s", a->password);
    if (code != KB_OK && r->link && code != KB_UNAVAILABLE)
        return kb_fail(err, KB_BAD_INPUT, _("Redis at %s refuses the user or the password"),
                       a->place);
    if (code == KB_OK && a->database > 0)
        code = greet_with(r, err, "SELECT %d", a->database);
    if (code != KB_OK)
        return code;
    // For who looks at its clients. It need not be allowed, but some answer must come.
    struct kb_error ignored = {0};
    code = greet_with(r, &ignored, "CLIENT SETNAME koubo");
    if (r->link && code != KB_UNAVAILABLE && !strstr(ignored.text, "NOAUTH"))
        return KB_OK;
    if (err)
        *err = ignored;
    return code;
}

static enum kb_code reach(struct redis *r, struct kb_error *err)
{
    if (r->link)
        return KB_OK;
    if (kb_now_us() < r->next_us) {
        if (err)
            *err = r->last;
        return r->last.code;
    }
    struct kb_error why = {0};
    enum kb_code code = redis_link_open(&r->link, &r->address, r->timeout_ms, r->cancel, &why);
    if (code == KB_OK) {
        r->answer = redis_answer_new();
        int wait_ms = r->wait_ms;
        code = greet(r, &why);
        r->wait_ms = code == KB_OK ? 0 : wait_ms;
    }
    if (code == KB_OK)
        return KB_OK;
    return lost(r, &why, err);
}

// --- for others

enum kb_code redis_open(struct redis **ret, const struct redis_params *p, struct kb_error *err)
{
    CLEANUP(redis_close) struct redis *r = kb_alloc(sizeof(*r));
    r->timeout_ms = p->timeout_ms > 0 ? p->timeout_ms : TIMEOUT_MS;
    r->cancel = p->cancel;
    enum kb_code code = redis_address_parse(&r->address, p->url, err);
    if (code == KB_OK)
        *ret = TAKE(r);
    return code;
}

void redis_close(struct redis **redis)
{
    struct redis *r = TAKE(*redis);
    if (!r)
        return;
    hang_up(r);
    redis_address_free(&r->address);
    text_free(&r->noted);
    free(r);
}

const char *redis_prefix(const struct redis *r)
{
    return r->address.prefix;
}

const char *redis_place(const struct redis *r)
{
    return r->address.place;
}

bool redis_is_connected(const struct redis *r)
{
    return r->link != NULL;
}

enum kb_code redis_ask(struct redis *r, redisReply **ret, int wait_ms, struct kb_error *err,
                       const char *format, ...)
{
    enum kb_code code = reach(r, err);
    if (code != KB_OK)
        return code;
    va_list args;
    va_start(args, format);
    code = say(r, ret, wait_ms, err, format, args);
    va_end(args);
    return code;
}

void redis_note(struct redis *r, const char *format, ...)
{
    char *command = NULL;
    va_list args;
    va_start(args, format);
    int n = redisvFormatCommand(&command, format, args);
    va_end(args);
    if (n <= 0)
        abort(); // memory is out, or our format is wrong
    text_add_bytes(&r->noted, command, (size_t)n);
    redisFreeCommand(command);
    r->n_noted++;
}

enum kb_code redis_send_noted(struct redis *r, struct kb_error *err)
{
    int n = r->n_noted;
    enum kb_code code = n > 0 ? reach(r, err) : KB_OK;
    if (code == KB_OK && n > 0)
        code = talk(r, r->noted.data, r->noted.size, n, 0, NULL, err);
    text_clear(&r->noted);
    r->n_noted = 0;
    return code;
}
