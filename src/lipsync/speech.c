#include "lipsync/speech.h"

#include "base/log.h"
#include "base/text.h"

#include <math.h>

#define TOO_QUIET_DB (-60.0)

static void say_holes(const struct sound_facts *f, const char *name)
{
    CLEANUP(text_free) struct text where = {0};
    for (int i = 0; i < KB_MIN(f->n_holes, SOUND_HOLES); i++)
        text_addf(&where, "%s%.2f-%.2f s", i ? ", " : "", f->holes[i].at_s,
                  f->holes[i].at_s + f->holes[i].length_s);
    if (f->n_holes > SOUND_HOLES)
        text_addf(&where, ", ...");
    log_warn(
        _("parts of the sound of '%s' are missing or damaged (%.2f s in all); silence stands in "
          "for them: %s"),
        name, f->missing_s, text_get(&where));
}

void speech_say(const struct mel *m, const char *name)
{
    const struct sound_facts *f = mel_sound(m);
    double level = mel_level_db(m);
    if (f->n_holes > 0)
        say_holes(f, name);
    if (f->n_bad > 0)
        log_warn(_("'%s' holds samples that are no numbers (%lld); they become silence"), name,
                 (long long)f->n_bad);
    if (!isfinite(level))
        log_warn(_("nothing is heard in '%s': the mouth will stay closed"), name);
    else if (level < TOO_QUIET_DB)
        log_warn(
            _("the speech in '%s' is very quiet (%.0f dB); lips may follow its noise: record it "
              "louder"),
            name, level);
}

enum kb_code speech_hear(struct mel **ret, const char *path, const char *name, bool loudnorm,
                         const struct watch *watch, struct kb_error *err)
{
    enum kb_code code = mel_from_file(ret, path, loudnorm, watch, err);
    if (code == KB_OK)
        speech_say(*ret, name);
    return code;
}
