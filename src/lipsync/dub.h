// One dub: one speech with one video, from files to a file. A batch calls this for each of its
// videos with the same loaded models and the same mel.
//
//   decode ──► rig ──► encode + mux                           bounded queues between the threads
//   decode ──► rig ──► finish ──► encode + mux                where more is asked for (finish.h)
//   decode ──► crop + network ──► paste ──► encode + mux      with a network that paints (Wav2Lip)
//   decode ──► crop + network ──► paste ──► read the lips     before the first, where one leads the
//   rig (lead.h)
//
// Not thread-safe: one dub at a time per struct engine.
#ifndef LIPSYNC_DUB_H
#define LIPSYNC_DUB_H

#include "base/watch.h"
#include "face/models.h"
#include "face/track.h"
#include "finish/finish.h"
#include "lipsync/engine.h"
#include "media/mel.h"
#include "media/mix.h"

// What fills the time when the speech is longer than the video.
enum loop_mode { LOOP_PINGPONG, LOOP_RESTART, LOOP_FREEZE, LOOP_NONE };
bool loop_mode_parse(const char *text,
                     enum loop_mode *ret); // "pingpong", "restart", "freeze", "none"

struct reader;

struct dub_params {
    const char *audio, *video, *output; // paths
    struct reader *film;                // video, as dub_check() gave it; NULL: it is opened
    const char *note; // the output's comment, for whoever reads it, which tells of its subtitles
                      // too then (media/cues.h); NULL = none
    const struct mel *mel;    // of audio, shared by a batch; NULL: computed here
    const char *track_folder; // cache of face tracks; NULL = none
    // Under which names of 32 hex digits the tracks of video, mouth_from and style_from are kept
    // there; NULL: the hashes of their bytes.
    const char *video_key, *mouth_key, *style_key;
    int64_t track_cache_limit; // bytes it may keep; 0 = no limit

    enum face_choice face;
    int face_number;   // of FACE_NUMBER
    double face_at[3]; // of FACE_AT: 0..1 from the left and top of the upright picture; seconds
                       // from the first picture of the video, < 0: not said
    enum loop_mode loop;
    bool keep_video;     // speech shorter than the video: keep the rest of it, untouched
    int64_t start_us;    // begin there in the video
    int64_t duration_us; // of the output at most; 0 = no limit
    int height;          // scale down to; 0 = as it is
    bool denoise, loudnorm;
    bool keep_deep; // ten bits and colours for bright screens, where the video has them; of films
                    // with transparency (finish.background.alpha) nothing: those have eight bits

    int crf;             // -1 = 18
    bool bitrate_source; // the video's own bitrate instead of crf
    const char *preset;  // one of writer_presets; NULL = "auto"
    bool encode_all; // also the pictures that nothing is drawn into, which else stay as they are
                     // encoded where that is possible (docs/films.md)

    float mouth_amount; // of the speech's motion, 1 = as far as the person opens the mouth in the
                        // film
    float still_motion; // of the head and the lids of a still picture, 0..1
    const char *mouth_from; // another film of the person, whose teeth are shown; NULL = this one
    // How the person speaks (style.h): NULL = as in the film, else as in this other film of them.
    // Of a listener's motion only.
    const char *style_from;
    bool no_style; // as a mean speaker instead

    bool lead; // a network that paints leads the rig, what it paints is not shown (--paint no)

    // Of a mouth that Wav2Lip paints.
    int pads[4];        // top, bottom, left, right, in pixels
    bool pads_set;      // else 0 10 0 0
    bool nosmooth;      // no smoothing of the crop over time
    float mask_feather; // width of the soft rim, fraction of the face's width; < 0 = 0.10
    float mask_dilate;  // grow the mask, fraction of the face's width; < 0 = 0.04
    float sharpen;      // amount of the unsharp mask, 0 = none

    // Where the subtitles go that it makes, in times of the output, instead of an SRT beside it;
    // subtitle_track_clear(). NULL: none are wanted back.
    struct subtitle_track *subtitles;

    struct finish_params finish; // what else becomes of the pictures
    const char *intro, *outro;   // films or pictures that are shown before and after; NULL = none
    struct music_params music;   // its times are the dub's business

    // A look before the whole (docs/preview.md): only look_us of the output, from look_from_us of
    // the speech on (< 0: where the voice begins), as the whole would show them. What is kept
    // beyond the speech is left out. look_us 0: the whole.
    int64_t look_us, look_from_us;
    struct dub_kept *kept; // for several dubs in a row; NULL: nothing is kept

    int threads; // 0 = all processors
    struct watch watch;
};
// Defaults for all that is not zero: crf -1, mask_* -1, mouth_amount 1, still_motion 0.5,
// music.volume 0.5, no time in face_at, look_from_us -1.
struct dub_params dub_defaults(void);

// What a process keeps of one dub for the next: motion, track, who is rigged. What the parameters
// of the next one do not fit is made anew. One engine at a time: free it before the engine is.
struct dub_kept;
struct dub_kept *dub_kept_create(void); // never NULL
void dub_kept_free(struct dub_kept **k);

struct dub_result {
    int64_t frames;          // written
    int64_t frames_animated; // of them with a face whose mouth was replaced
    int64_t frames_copied;   // of them as the video has them encoded
    double seconds;          // length of the output
    double from_s;           // of a look: where in the whole it begins
    bool track_cached;
    int width, height;
    double stage_s[N_STAGES]; // wall clock per stage
};

// Are ten bits kept where the video has them?
bool dub_is_deep(const struct dub_params *p);

// Check what can be checked before any work: all that the run will open (inputs, what is drawn or
// joined, models, fonts) exists and opens, output can be written, room for it. Cheap. The same
// codes as dub_run. ret_film (may be NULL): the open video, for dub_params.film, so that dub_run()
// need not open it again; reader_close() it. A speech that is yet to be spoken may be missing here.
enum kb_code dub_check(const struct dub_params *p, struct reader **ret_film, struct kb_error *err);

// Makes the whole dub, after dub_check() unless the film comes from there. The output appears under
// its name only when it is whole. A video without any face is KB_BAD_INPUT. KB_CANCELLED leaves
// nothing behind.
enum kb_code dub_run(struct engine *e, const struct dub_params *p, struct dub_result *ret,
                     struct kb_error *err);

// The part of a dub for which neither engine nor output is needed: the track of its film, into
// kept, where dub_run() finds it. p->mel and p->kept are there; the whole, no look. May run beside
// a dub_run() of other parameters, with face networks of its own. The codes of dub_run().
enum kb_code dub_prepare(struct face_models *faces, const struct dub_params *p,
                         struct kb_error *err);

// One frame of a look: the one that is shown at_us after its beginning, with all that is drawn in
// it; at the end of the look, its last. Needs dub_params.kept and its film stays open there;
// dub_params.output and film do not count. *ret is the caller's. The codes of dub_run().
enum kb_code dub_still(struct engine *e, const struct dub_params *p, int64_t at_us,
                       struct AVFrame **ret, struct kb_error *err);

#endif
