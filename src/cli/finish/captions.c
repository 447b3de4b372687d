// --subtitles and what belongs to it (docs/subtitles.md).
#include "cli/finish/finish.h"

#include "base/charset.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OPT_SUBTITLES = 2100,
    OPT_SUBTITLES_TEXT,
    OPT_SUBTITLES_AS,
    OPT_SUBTITLE_SIZE,
    OPT_SUBTITLE_COLOUR,
    OPT_SUBTITLE_BOX,
    OPT_SUBTITLE_PLACE,
    OPT_SUBTITLE_FONT,
};

static const struct argp_option captions_options[] = {
    {NULL, 0, NULL, 0, N_("Subtitles (docs/subtitles.md):"), 46},
    {"subtitles", OPT_SUBTITLES, "FILE|text", 0,
     N_("subtitles from an SRT, VTT or ASS file, in any encoding, or from the speech's text"), 46},
    {"subtitles-text", OPT_SUBTITLES_TEXT, "FILE", 0,
     N_("what a recorded speech says, as a text file: it is laid along the pauses of the speech; - "
        "reads the standard input"),
     46},
    {"subtitles-as", OPT_SUBTITLES_AS, "HOW", 0,
     N_("burn (into the picture), srt (NAME.srt beside the result), stream (in the mp4, which "
        "players switch on), several with commas between, or none (default: burn)"),
     46},
    {"subtitle-size", OPT_SUBTITLE_SIZE, "X", 0,
     N_("height of the letters in per cent of the picture's shorter side, 2 to 15 (default: 5.5)"),
     46},
    {"subtitle-colour", OPT_SUBTITLE_COLOUR, "#RRGGBB", 0,
     N_("colour of the letters (default: #ffffff)"), 46},
    {"subtitle-box", OPT_SUBTITLE_BOX, "yes|no", 0,
     N_("a dark box behind the letters instead of an outline (default: no)"), 46},
    {"subtitle-place", OPT_SUBTITLE_PLACE, "WHERE", 0,
     N_("bottom, middle or top (default: bottom, in upright videos higher)"), 46},
    {"subtitle-font", OPT_SUBTITLE_FONT, "NAME", 0,
     N_("a font of this machine (default: the best that has Chinese letters)"), 46},
    {0},
};

// A pipe, or "-", the standard input, up to its end.
static enum kb_code hear_text(char **ret, int fd, const char *path, struct kb_error *err)
{
    CLEANUP(text_free) struct text text = {0};
    if (text_hear(&text, fd, CAPTIONS_TEXT_BYTES + 1, INT64_C(3600000000), cli_cancel()))
        return charset_decode(ret, NULL, text_get(&text), text.size, path, err);
    if (cancel_requested(cli_cancel()))
        return cancel_check(cli_cancel(), err);
    return text.size > CAPTIONS_TEXT_BYTES
               ? kb_fail(err, KB_BAD_INPUT, _("'%s' is too long for a text"), path)
               : kb_fail(err, KB_BAD_INPUT, _("cannot read '%s'"), path);
}

static enum kb_code read_text(char **ret, const char *path, struct kb_error *err)
{
    struct stat st;
    bool input = strcmp(path, "-") == 0;
    if (!input && (stat(path, &st) != 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))))
        return charset_read(ret, NULL, path, CAPTIONS_TEXT_BYTES, err);
    int fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kb_fail(err, KB_BAD_INPUT, _("cannot open '%s': %s"), path, kb_strerror(errno));
    enum kb_code code = hear_text(ret, fd, path, err);
    if (!input)
        close(fd);
    return code;
}

static void take_text(struct argp_state *state, struct dub_options *o, const char *path)
{
    struct kb_error err = {0};
    kb_freep(&o->subtitles_text);
    if (read_text(&o->subtitles_text, path, &err) != KB_OK)
        argp_error(state, "%s", err.text);
    o->dub.finish.captions.text = o->subtitles_text;
}

// What cannot go together, once all options are known.
static void check(struct argp_state *state, struct dub_options *o)
{
    struct captions_params *c = &o->dub.finish.captions;
    // With a list it is each line's own.
    bool lines = o->subtitles_spoken && o->speech.optional;
    if (o->subtitles_spoken && !o->subtitles_text && !o->speech.text && !lines)
        argp_error(state, "%s",
                   _("--subtitles text needs the speech's text: --text, or --subtitles-text FILE"));
    if (c->file && o->subtitles_text)
        argp_error(state, "%s",
                   _("--subtitles FILE and --subtitles-text are two sources; give one of them"));
    if (!c->file && !o->subtitles_text && !o->subtitles_spoken && o->subtitles_styled)
        argp_error(state, "%s",
                   _("the options of subtitles need subtitles: --subtitles FILE, or --subtitles "
                     "text"));
    if (o->subtitles_spoken && !o->subtitles_text) {
        c->text = o->speech.text;
        c->words = &o->speech.words;
    }
    if (!o->subtitles_as_said)
        c->as = CAPTIONS_BURN;
    if (!c->file && !c->text && !lines)
        c->as = 0;
}

static error_t captions_parse(int key, char *arg, struct argp_state *state)
{
    struct dub_options *o = state->input;
    struct captions_params *c = &o->dub.finish.captions;
    o->subtitles_styled |= key >= OPT_SUBTITLES_AS && key <= OPT_SUBTITLE_FONT;
    switch (key) {
    case OPT_SUBTITLES:
        o->subtitles_spoken = strcmp(arg, "text") == 0;
        c->file = o->subtitles_spoken ? NULL : option_path(arg);
        return 0;
    case OPT_SUBTITLES_TEXT:
        take_text(state, o, option_path(arg));
        return 0;
    case OPT_SUBTITLES_AS:
        o->subtitles_as_said = true;
        if (!captions_as_parse(arg, &c->as))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--subtitles-as",
                       CAPTIONS_AS_WORDS, arg);
        return 0;
    case OPT_SUBTITLE_SIZE:
        c->size =
            option_float(state, "--subtitle-size", arg, CAPTIONS_LEAST_SIZE, CAPTIONS_MOST_SIZE);
        return 0;
    case OPT_SUBTITLE_COLOUR:
        c->coloured = true;
        if (!captions_colour_parse(arg, &c->colour))
            argp_error(state, _("%s takes a colour such as #ffcc00, not '%s'"), "--subtitle-colour",
                       arg);
        return 0;
    case OPT_SUBTITLE_BOX:
        c->box = strcmp(arg, "yes") == 0;
        if (!c->box && strcmp(arg, "no") != 0)
            argp_error(state, _("%s takes one of %s, not '%s'"), "--subtitle-box", "yes, no", arg);
        return 0;
    case OPT_SUBTITLE_PLACE:
        if (!captions_place_parse(arg, &c->place))
            argp_error(state, _("%s takes one of %s, not '%s'"), "--subtitle-place",
                       "bottom, middle, top", arg);
        return 0;
    case OPT_SUBTITLE_FONT:
        c->font = arg;
        return 0;
    case ARGP_KEY_END:
        check(state, o);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp captions_argp = {
    .options = captions_options, .parser = captions_parse, .argp_domain = "koubo"};
