#include "queue/material.h"

#include <stddef.h>
#include <string.h>

// One a line; each line's option is read by its row in a table of options (options_internal.h).
static const struct material_role roles[] = {
    {"background", "video",
     N_("'%s' cannot be shown behind the people: the option 'background' takes a picture or a "
        "video that is whole and can be read"),
     offsetof(struct dub_params, finish.background.path), 0},
    {"mouth_from", "video",
     N_("'%s' cannot lend its mouth: the option 'mouth_from' takes a video that is whole and can "
        "be read"),
     offsetof(struct dub_params, mouth_from), offsetof(struct dub_params, mouth_key)},
    {"style_from", "video",
     N_("nobody's way of speaking can be learnt from '%s': the option 'style_from' takes a video "
        "that is whole and can be read"),
     offsetof(struct dub_params, style_from), offsetof(struct dub_params, style_key)},
    {"subtitles", "text",
     N_("'%s' gives no subtitles: the option 'subtitles' takes an SRT, VTT or ASS file that can be "
        "read"),
     offsetof(struct dub_params, finish.captions.file), 0},
    {"logo", "video",
     N_("'%s' cannot be the logo: the option 'logo' takes a picture that can be read"),
     offsetof(struct dub_params, finish.logo.path), 0},
    {"intro", "video",
     N_("'%s' cannot be shown before the video: the option 'intro' takes a video or picture that "
        "is whole and can be read"),
     offsetof(struct dub_params, intro), 0},
    {"outro", "video",
     N_("'%s' cannot be shown after the video: the option 'outro' takes a video or picture that is "
        "whole and can be read"),
     offsetof(struct dub_params, outro), 0},
    {"music", "audio video",
     N_("'%s' cannot be the music: the option 'music' takes a sound, or a video with one, that is "
        "whole and can be read"),
     offsetof(struct dub_params, music.path), 0},
};

_Static_assert(ARRAY_LEN(roles) <= MATERIAL_MOST, "a job may have one of each");

const struct material_role *material_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(name, roles[i].name) == 0)
            return &roles[i];
    return NULL;
}

bool material_takes(const struct material_role *role, const char *kind)
{
    size_t n = strlen(kind);
    for (const char *at = role->kinds; n > 0 && at; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, kind, n) == 0 && (at[n] == ' ' || at[n] == '\0'))
            return true;
    }
    return n == 0;
}

static void put(struct dub_params *p, size_t at, const char *value)
{
    memcpy((char *)p + at, &value, sizeof(value));
}

void material_put(const struct material_role *role, struct dub_params *p, const char *path,
                  const char *key)
{
    put(p, role->path, path);
    if (role->key)
        put(p, role->key, key);
}

enum kb_code material_gone(const char *name, struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND,
                   _("the file that the option '%s' names is gone; make a new batch with another "
                     "one, or without"),
                   name);
}
