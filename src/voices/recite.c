// A whole text, sentence by sentence, with patience for a service that is busy.
#include "voices/internal.h"

#include "base/deadline.h"
#include "base/utf8.h"
#include "media/sentences.h"
#include "media/words.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ATTEMPTS   3
#define RETRY_MS   1000
#define TOTAL_MOST (INT64_C(2) << 30)

static enum kb_code rest(const struct voice_wish *wish, int ms, struct kb_error *err)
{
    for (int64_t until = kb_now_us() + ms * INT64_C(1000); kb_now_us() < until;) {
        enum kb_code code = cancel_check(wish->cancel, err);
        if (code != KB_OK)
            return code;
        poll(NULL, 0, (int)KB_MIN(50, (until - kb_now_us()) / 1000 + 1));
    }
    return KB_OK;
}

static enum kb_code ask_patiently(const json_t *voice, const char *sentence,
                                  const struct voice_wish *wish, struct text *ret,
                                  struct kb_error *err)
{
    int pause_ms = wish->retry_ms > 0 ? wish->retry_ms : RETRY_MS;
    if (strcmp(voice_text(voice, "kind"), "command") == 0)
        return voice_run(voice, sentence, wish, ret, err);
    for (int i = 1;; i++) {
        bool again = false;
        int wait_s = 0;
        enum kb_code code = voice_ask(voice, sentence, wish, ret, &again, &wait_s, err);
        if (code == KB_OK || !again || i == ATTEMPTS)
            return code;
        text_free(ret);
        *err = (struct kb_error){0};
        code = rest(wish, KB_MAX(pause_ms, wait_s * 1000), err);
        if (code != KB_OK)
            return code;
        pause_ms *= 3;
    }
}

static bool write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, data, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        n -= (size_t)written;
    }
    return true;
}

static enum kb_code say(const json_t *voice, const char *sentence, const struct voice_wish *wish,
                        int fd, int64_t *ret_size, struct kb_error *err)
{
    CLEANUP(text_free) struct text sound = {0};
    struct kb_error why = {0};
    enum kb_code code = ask_patiently(voice, sentence, wish, &sound, &why);
    if (code != KB_OK) {
        if (err)
            *err = why;
        return code;
    }
    *ret_size = (int64_t)sound.size;
    if (write_all(fd, text_get(&sound), sound.size))
        return KB_OK;
    return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_INTERNAL,
                   _("the speech could not be stored: %s"), kb_strerror(errno));
}

enum kb_code voice_recite(const json_t *voice, const char *text, const struct voice_wish *wish,
                          int fd, int64_t **ret_sizes, int *ret_n, struct kb_error *err)
{
    CLEANUP(kb_freep) struct sentence *sentences = NULL;
    int n = 0;
    int64_t sum = 0;
    if (strlen(text) > WORDS_TEXT_BYTES)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the text is %zu bytes long, at most %d can be spoken at once; cut it into "
              "parts"),
            strlen(text), WORDS_TEXT_BYTES);
    if (!utf8_valid(text))
        return kb_fail(err, KB_BAD_INPUT, _("the text is not UTF-8; save it as UTF-8"));
    if (!sentences_find(text, &sentences, &n))
        return kb_no_memory(err);
    if (n == 0)
        return kb_fail(err, KB_BAD_INPUT, _("there is no text to speak"));
    CLEANUP(kb_freep) int64_t *sizes = kb_calloc_checked((size_t)n, sizeof(*sizes));
    enum kb_code code = sizes ? KB_OK : kb_no_memory(err);
    for (int i = 0; code == KB_OK && i < n; i++) {
        CLEANUP(kb_freep) char *sentence = strndup(text + sentences[i].first, sentences[i].n);
        if (wish->tell)
            wish->tell(wish->ctx, i, n);
        code = cancel_check(wish->cancel, err);
        if (code == KB_OK)
            code = sentence ? say(voice, sentence, wish, fd, &sizes[i], err) : kb_no_memory(err);
        sum += code == KB_OK ? sizes[i] : 0;
        if (code == KB_OK && sum > TOTAL_MOST)
            code = kb_fail(err, KB_BAD_INPUT, _("the text is too long; cut it into parts"));
    }
    if (code == KB_OK) {
        *ret_sizes = TAKE(sizes);
        *ret_n = n;
    }
    return code;
}
