#include "worker/peek.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/proc.h"
#include "base/text.h"
#include "base/utf8.h"
#include "media/cues.h"
#include "media/demux.h"
#include "media/subtitle_file.h"
#include "worker/sandbox.h"
#include "worker/thumbnail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_US         60000000
#define PROCESSOR_S     30
#define MEMORY_BYTES    (2LL << 30) // more than this process has already
#define PICTURE_BYTES   (16 << 20)
#define MAX_NOTE        8192
#define MAX_ANSWER      (CUES_TAG_BYTES + (64 << 10))
#define THUMBNAIL_AT_US 1000000
#define PICTURE         "picture.jpg"

// --- in the cage

static void set_limit(__rlimit_resource_t resource, int64_t value)
{
    setrlimit(resource, &(struct rlimit){(rlim_t)value, (rlim_t)value});
}

// It reads that one video, and writes in a folder that is empty, if at all: where results lie it
// could put others in their place.
static enum kb_code enter_cage(const char *path, const char *folder, struct kb_error *err)
{
    char missing[200];
    struct sandbox_paths reads = {0};
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_CPU, PROCESSOR_S);
    set_limit(RLIMIT_FSIZE, PICTURE_BYTES);
    set_limit(RLIMIT_AS, proc_bytes("/proc/self/status", "VmSize") + MEMORY_BYTES);
    sandbox_add(&reads, path);
    enum kb_code code = sandbox_enter(folder, &reads, missing, err);
    sandbox_paths_free(&reads);
    return code;
}

// Into the answer, if the film tells of any: no longer there than in the film.
static void describe_cues(const struct demux *v, json_t *answer)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track found = {0};
    const AVDictionaryEntry *tag = av_dict_get(v->demux->metadata, CUES_TAG, NULL, 0);
    size_t first = 0;
    bool burned;
    if (!tag || !cues_read_tag(&found, &burned, tag->value))
        return;
    json_object_set_new(answer, "burned", json_boolean(burned));
    json_object_set_new(answer, "cues", cues_pack(&found, &first, SIZE_MAX));
}

static json_t *describe(const struct demux *v, bool picture)
{
    const AVCodecParameters *p = v->stream->codecpar;
    const AVDictionaryEntry *comment = av_dict_get(v->demux->metadata, "comment", NULL, 0);
    CLEANUP(kb_freep) char *note = utf8_clean(comment ? comment->value : NULL);
    if (note && strlen(note) > MAX_NOTE)
        kb_freep(&note);
    return json_pack("{s:I, s:I, s:i, s:i, s:b, s:s?}", "duration",
                     (json_int_t)(demux_duration_us(v) / 1000), "frames",
                     (json_int_t)v->stream->nb_frames, "width", p->width, "height", p->height,
                     "picture", picture, "note", note);
}

// folder: where the picture is to be made, NULL: none is.
static enum kb_code look(const char *path, const char *folder, json_t **ret, struct kb_error *err)
{
    struct demux v = {0};
    enum kb_code code = demux_open(&v, path, AVMEDIA_TYPE_VIDEO, NULL, err);
    if (code != KB_OK)
        return code;
    int64_t duration_us = demux_duration_us(&v);
    if (demux_is_still(&v) || duration_us <= 0 || v.stream->codecpar->width <= 0) {
        demux_close(&v);
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is not a video"), path_name(path));
    }
    struct kb_error ignored; // a list without this picture is still a list
    CLEANUP(kb_freep) char *picture = folder ? path_join(folder, PICTURE) : NULL;
    bool there = picture && thumbnail_of_video(path, KB_MIN(THUMBNAIL_AT_US, duration_us / 2),
                                               picture, NULL, &ignored) == KB_OK;
    *ret = describe(&v, there);
    describe_cues(&v, *ret);
    demux_close(&v);
    return KB_OK;
}

static void answer(int fd, const char *path, const char *folder)
{
    struct kb_error err = {0};
    json_t *json = NULL;
    enum kb_code code = enter_cage(path, folder, &err);
    if (code == KB_OK)
        code = look(path, folder, &json, &err);
    if (code != KB_OK) {
        CLEANUP(kb_freep) char *text = utf8_clean(err.text);
        json = json_pack("{s:i, s:s}", "code", (int)code, "error", text);
    }
    CLEANUP(kb_freep) char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
    for (size_t at = 0, n = line ? strlen(line) : 0; at < n;) {
        ssize_t written = write(fd, line + at, n - at);
        if (written <= 0)
            break;
        at += (size_t)written;
    }
    json_decref(json);
}

static pid_t start(int output, const char *path, const char *folder)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    // Nothing of ours is within its reach: least of all the database.
    if (dup2(output, STDIN_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
        _exit(1);
    answer(STDIN_FILENO, path, folder);
    _exit(0);
}

// --- outside

void peek_clear(struct peek *p)
{
    free(p->note);
    subtitle_track_clear(&p->cues);
    *p = (struct peek){0};
}

static enum kb_code understand(const char *answer, const char *path, struct peek *ret,
                               struct kb_error *err)
{
    json_auto_t *json = json_loads(answer, 0, NULL);
    const char *error = json_string_value(json_object_get(json, "error"));
    if (!json)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' cannot be read: its reader crashed"),
                       path_name(path));
    int code = (int)json_integer_value(json_object_get(json, "code"));
    if (error) // only a cage that cannot be entered concerns other files
        return kb_fail(err, code == KB_UNAVAILABLE ? KB_UNAVAILABLE : KB_BAD_INPUT, "%s", error);
    *ret = (struct peek){
        .duration_ms = json_integer_value(json_object_get(json, "duration")),
        .frames = KB_MAX(json_integer_value(json_object_get(json, "frames")), 0),
        .width = (int)json_integer_value(json_object_get(json, "width")),
        .height = (int)json_integer_value(json_object_get(json, "height")),
        .picture = json_is_true(json_object_get(json, "picture")),
        .note = kb_strdup(json_string_value(json_object_get(json, "note"))),
        .burned = json_is_true(json_object_get(json, "burned")),
    };
    if (!cues_unpack(&ret->cues, json_object_get(json, "cues")))
        subtitle_track_clear(&ret->cues);
    return KB_OK;
}

static enum kb_code run(const char *path, const char *folder, const struct cancel *cancel,
                        struct peek *ret, struct kb_error *err)
{
    CLEANUP(text_free) struct text text = {0};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return kb_fail(err, KB_NO_SPACE, _("no process can be started: %s"), kb_strerror(errno));
    pid_t pid = start(ends[1], path, folder);
    int number = errno;
    close(ends[1]);
    bool whole = pid > 0 && text_hear(&text, ends[0], MAX_ANSWER, WAIT_US, cancel);
    close(ends[0]);
    if (pid < 0)
        return kb_fail(err, KB_NO_SPACE, _("no process can be started: %s"), kb_strerror(number));
    if (!whole)
        kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (!whole && cancel_requested(cancel))
        return cancel_check(cancel, err);
    if (!whole)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' took too long to read; is it damaged?"),
                       path_name(path));
    return understand(text_get(&text), path, ret, err);
}

// The process that wrote there has ended. It may have left anything but links and folders.
static bool take_picture(const char *data, const char *folder, const char *picture)
{
    CLEANUP(file_unmap) struct file_map map = {0};
    CLEANUP(kb_freep) char *name = kb_printf("work/%s/" PICTURE, path_name(folder));
    int fd = beneath_open(data, name, O_RDONLY, 0);
    bool taken = fd >= 0 && file_map_open(&map, fd, name, NULL) == KB_OK &&
                 map.size <= PICTURE_BYTES &&
                 file_write_cached(picture, map.data, map.size, NULL) == KB_OK;
    if (fd >= 0)
        close(fd);
    return taken;
}

static void remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_type != DT_DIR)
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(folder);
}

enum kb_code peek_video(const char *path, const char *picture, const char *data,
                        const struct cancel *cancel, struct peek *ret, struct kb_error *err)
{
    if (!picture || file_exists(picture)) {
        enum kb_code code = run(path, NULL, cancel, ret, err);
        ret->picture = code == KB_OK && picture;
        return code;
    }
    // No worker can be called so (koubo worker --id).
    CLEANUP(kb_freep) char *folder = path_join(data, "work/restore-XXXXXX");
    if (!beneath_make_dirs(data, "work", 0700) || !mkdtemp(folder))
        return run(path, NULL, cancel, ret, err); // a list without this picture is still a list
    enum kb_code code = run(path, folder, cancel, ret, err);
    if (code == KB_OK)
        ret->picture = ret->picture && take_picture(data, folder, picture);
    remove_folder(folder);
    return code;
}
