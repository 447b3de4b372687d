// The parts koubo is made of: models, FFmpeg's codecs.
#include "doctor/internal.h"

#include "base/file.h"
#include "face/models.h"
#include "lipsync/motion.h"
#include "rig/follow.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <malloc.h>
#include <string.h>

// As a job would, but not through engine_load(), which says what it loads.
static enum kb_code load_models(struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = NULL;
    CLEANUP(motion_model_free) struct motion_model *listener = NULL;
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(face_models_free) struct face_models *faces = NULL;
    enum kb_code code = model_find(&path, NULL, err);
    if (code == KB_OK)
        code = motion_model_load(&listener, path, kb_cpu_count(), err);
    if (code == KB_OK)
        code = follow_load(&follow, err);
    return code == KB_OK ? face_models_load(&faces, err) : code;
}

static void look_at_models(struct doctor *d)
{
    struct kb_error err = {0};
    int64_t begin = kb_now_us();
    enum kb_code code = load_models(&err);
    double seconds = (double)(kb_now_us() - begin) / 1e6;
    malloc_trim(0); // a server lives on
    if (code == KB_OK)
        doctor_add(d, "models", _("models"), FINDING_OK, NULL,
                   _("the listener and the face networks load in %.2f s"), seconds);
    else
        doctor_add(d, "models", _("models"), FINDING_PROBLEM,
                   _("run ./start.sh again; it fetches what is missing"), "%s", err.text);
}

static void look_at_codecs(struct doctor *d)
{
    static const char *const decoders[] = {"h264", "hevc", "vp8",    "vp9",  "mpeg4", "mjpeg",
                                           "aac",  "mp3",  "vorbis", "opus", "flac",  "pcm_s16le"};
    static const char *const encoders[] = {"libx264", "aac", "mjpeg"};
    char missing[256] = "";
    bool essential = false;
    for (size_t i = 0; i < ARRAY_LEN(decoders) + ARRAY_LEN(encoders); i++) {
        bool encoder = i >= ARRAY_LEN(decoders);
        const char *name = encoder ? encoders[i - ARRAY_LEN(decoders)] : decoders[i];
        if (encoder ? avcodec_find_encoder_by_name(name) != NULL
                    : avcodec_find_decoder_by_name(name) != NULL)
            continue;
        size_t used = strlen(missing);
        snprintf(missing + used, sizeof(missing) - used, "%s%s", used ? ", " : "", name);
        essential = essential || encoder || strcmp(name, "h264") == 0 || strcmp(name, "aac") == 0;
    }
    enum finding_level level = essential    ? FINDING_PROBLEM
                               : missing[0] ? FINDING_WARNING
                                            : FINDING_OK;
    doctor_add(d, "codecs", "FFmpeg", level,
               missing[0] ? _("install Debian's full libavcodec (package libavcodec-extra)") : NULL,
               missing[0] ? _("version %s lacks %s") : _("version %s has the usual codecs%s"),
               av_version_info(), missing);
}

void doctor_look_at_parts(struct doctor *d)
{
    look_at_models(d);
    look_at_codecs(d);
}
