// The speech of --text: espeak-ng's, or that of a voice which koubo voice add wrote down.
#include "cli/speech.h"

#include "cli/cli.h"

#include "base/file.h"
#include "base/log.h"
#include "media/pieces.h"
#include "media/recital.h"
#include "media/voice.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum kb_code speech_voices(json_t **ret, struct kb_error *err)
{
    // The server's own, where it is this user's: what was added in the page speaks here, too.
    CLEANUP(kb_freep) char *data = store_default_folder();
    CLEANUP(kb_freep) char *path = data ? voices_data_path(data) : NULL;
    return voices_load_all(ret, path && access(path, R_OK) == 0 ? data : NULL, err);
}

static void tell(void *ctx, int done, int total)
{
    log_verbose(_("sentence %d of %d"), done + 1, total);
}

static enum kb_code recite(const struct speech_wish *w, const json_t *voice, const char *pieces,
                           const char *scratch, struct words *ret_words, struct kb_error *err)
{
    const struct voice_wish wish = {.speed = w->speed, .cancel = cli_cancel(), .tell = tell};
    CLEANUP(kb_freep) int64_t *sizes = NULL;
    int n = 0;
    int fd = open(pieces, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return kb_fail(err, KB_NO_SPACE, _("cannot write '%s': %s"), pieces, kb_strerror(errno));
    enum kb_code code = voice_recite(voice, w->text, &wish, fd, &sizes, &n, err);
    close(fd);
    if (code != KB_OK)
        return code;
    const struct pieces p = {
        .path = pieces,
        .sizes = sizes,
        .n = n,
        .scratch = scratch,
        .tempo = voice_has_speed(voice) ? 1 : w->speed,
        .pause_ms = w->has_pause ? w->pause_ms : RECITAL_PAUSE_MS,
        .cancel = cli_cancel(),
    };
    return pieces_join(w->path, w->text, &p, ret_words, err);
}

// NULL: it is one of espeak-ng's.
static enum kb_code find_voice(const json_t **ret, json_t **ret_list, const char *name,
                               struct kb_error *err)
{
    *ret = NULL;
    if (!name || !*name)
        return KB_OK;
    struct kb_error why = {0};
    if (speech_voices(ret_list, &why) == KB_OK) {
        *ret = voices_find(*ret_list, name);
        return KB_OK;
    }
    // espeak-ng's need nothing of what cannot be read.
    if (voice_speakable(NULL, name, NULL) == KB_OK) {
        log_warn(_("%s; espeak-ng speaks with its own voice '%s'"), why.text, name);
        return KB_OK;
    }
    *err = why;
    return why.code;
}

enum kb_code speech_speakable(const char *text, const char *voice, struct kb_error *err)
{
    json_auto_t *voices = NULL;
    const json_t *found;
    enum kb_code code = find_voice(&found, &voices, voice, err);
    return code == KB_OK && !found ? voice_speakable(text, voice, err) : code;
}

enum kb_code speech_make(const struct speech_wish *w, struct words *ret_words, struct kb_error *err)
{
    json_auto_t *voices = NULL;
    const json_t *voice;
    enum kb_code code = find_voice(&voice, &voices, w->voice, err);
    if (code != KB_OK)
        return code;
    if (!voice) {
        const struct voice_params p = {.voice = w->voice,
                                       .speed = w->speed,
                                       .has_pause = w->has_pause,
                                       .pause_ms = w->pause_ms,
                                       .cancel = cli_cancel()};
        return voice_speak(w->path, w->text, &p, ret_words, err);
    }
    CLEANUP(kb_freep) char *pieces = kb_printf("%s/pieces", w->folder);
    CLEANUP(kb_freep) char *scratch = kb_printf("%s/piece", w->folder);
    code = recite(w, voice, pieces, scratch, ret_words, err);
    unlink(pieces);
    return code;
}
