#include "queue/look.h"

#include "queue/internal.h"
#include "queue/options.h"

#include "asset/asset.h"

#include <stdio.h>
#include <string.h>

// What it has to be made of must be here, not only on its way.
static enum kb_code find_whole(struct store *s, const char *id, struct asset *ret,
                               struct kb_error *err)
{
    enum kb_code code = asset_find(s, id, ret, err);
    if (code == KB_OK && !ret->sha256[0])
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not here yet; try again when it is"),
                       ret->name);
    return code;
}

enum kb_code look_claim(struct store *s, const struct batch_params *p, struct job_claim *ret,
                        struct kb_error *err)
{
    struct asset audio, video;
    CLEANUP(job_claim_free) struct job_claim c = {0};
    enum kb_code code = batch_check_pair(s, p, err);
    if (code == KB_OK)
        code = find_whole(s, p->audio, &audio, err);
    if (code == KB_OK)
        code = find_whole(s, p->videos[0], &video, err);
    if (code != KB_OK)
        return code;
    snprintf(c.audio_sha256, sizeof(c.audio_sha256), "%s", audio.sha256);
    snprintf(c.video_sha256, sizeof(c.video_sha256), "%s", video.sha256);
    c.audio_name = kb_strdup(audio.name);
    c.video_name = kb_strdup(video.name);
    c.options = p->defaults ? batch_options_complete(p->options, p->defaults, p->lang)
                            : kb_strdup(p->options ? p->options : "{}");
    if (!c.options)
        return kb_no_memory(err);
    c.face_at[0] = -1;
    if (p->face_at)
        memcpy(c.face_at, p->face_at[0], sizeof(c.face_at));
    code = job_read_materials(s, &c, err);
    if (code == KB_OK) {
        *ret = c;
        c = (struct job_claim){0};
    }
    return code;
}
