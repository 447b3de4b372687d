#include "media/mux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "media/demux.h"

// Is it the disk's or the folder's fault, or that of what is to be written?
static bool is_of_disk(int e)
{
    static const int numbers[] = {EIO,    EROFS,        EACCES, EPERM, ENOENT, ENOTDIR,
                                  EISDIR, ENODEV,       ENXIO,  EBADF, ESTALE, EBUSY,
                                  ELOOP,  ENAMETOOLONG, EMFILE, ENFILE};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (e == AVERROR(numbers[i]))
            return true;
    return false;
}

// said: what FFmpeg said beside its code, or NULL.
static enum kb_code cannot_write(const struct mux *m, int e, const char *said, struct kb_error *err)
{
    if (e == AVERROR(ENOMEM))
        return kb_no_memory(err);
    if (e == AVERROR_EXIT && cancel_requested(m->cancel))
        return cancel_check(m->cancel, err);
    if (ffmpeg_code(e) == KB_NO_SPACE)
        return kb_fail(err, KB_NO_SPACE,
                       _("the disk is full: '%s' cannot be written (%s); free some space or choose "
                         "another output folder"),
                       m->path, ffmpeg_error(e));
    if (is_of_disk(e))
        return kb_fail(err, KB_BAD_INPUT,
                       _("cannot write '%s': %s; check the disk and the permissions of its folder"),
                       m->path, ffmpeg_error(e));
    return kb_fail(err, KB_BAD_INPUT, _("FFmpeg cannot write '%s': %s"), m->path,
                   said && *said ? said : ffmpeg_error(e));
}

static int interrupted(void *cancel)
{
    return cancel_requested(cancel);
}

// As FFmpeg calls the format that the name's ending stands for.
static const char *format_of(const char *path)
{
    static const struct {
        const char *ending, *format;
    } formats[] = {{".mov", "mov"}, {".mkv", "matroska"}, {".webm", "webm"}};
    const char *dot = strrchr(path_name(path), '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(formats); i++)
        if (strcasecmp(dot, formats[i].ending) == 0)
            return formats[i].format;
    return "mp4";
}

enum kb_code mux_open(struct mux *m, const char *path, const struct cancel *cancel,
                      struct kb_error *err)
{
    ffmpeg_init();
    *m = (struct mux){.path = kb_strdup(path), .part = file_part_path(path, 0), .cancel = cancel};
    enum kb_code code = file_check_writable(path, 0, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *url = kb_printf("file:%s", m->part);
    int e = avformat_alloc_output_context2(&m->out, NULL, format_of(path), url);
    if (e < 0)
        return kb_fail(err, KB_UNAVAILABLE, _("this FFmpeg cannot write %s: %s"), format_of(path),
                       ffmpeg_error(e));
    m->out->interrupt_callback = (AVIOInterruptCB){interrupted, (void *)cancel};
    e = avio_open2(&m->out->pb, url, AVIO_FLAG_WRITE, &m->out->interrupt_callback, NULL);
    if (e < 0)
        return cannot_write(m, e, NULL, err);
    m->created = true;
    return KB_OK;
}

enum kb_code mux_start(struct mux *m, struct kb_error *err)
{
    AVDictionary *options = NULL;
    // Tags keep the names they have, as ISO's keys: those that mp4 has no name for, too.
    av_dict_set(&options, "movflags", "+faststart+use_metadata_tags", 0);
    char said[200];
    ffmpeg_listen(said, sizeof(said));
    int e = avformat_write_header(m->out, &options);
    ffmpeg_listen(NULL, 0);
    av_dict_free(&options);
    if (e >= 0)
        e = m->out->pb->error;
    return e < 0 ? cannot_write(m, e, said, err) : KB_OK;
}

enum kb_code mux_write(struct mux *m, AVPacket *packet, AVRational from, struct kb_error *err)
{
    av_packet_rescale_ts(packet, from, m->out->streams[packet->stream_index]->time_base);
    int e = av_interleaved_write_frame(m->out, packet);
    // The muxer does not pass on what happened when its buffer went to the disk.
    if (m->out->pb->error < 0)
        e = m->out->pb->error;
    return e < 0 ? cannot_write(m, e, NULL, err) : KB_OK;
}

enum kb_code mux_tag(struct mux *m, const char *name, const char *value, struct kb_error *err)
{
    return !value || av_dict_set(&m->out->metadata, name, value, 0) >= 0 ? KB_OK
                                                                         : kb_no_memory(err);
}

// A name is worth something after a power cut only when the data and the folder are on the disk.
static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return AVERROR(errno);
    int e = fsync(fd) == 0 ? 0 : AVERROR(errno);
    close(fd);
    return e;
}

enum kb_code mux_finish(struct mux *m, struct kb_error *err)
{
    int e = av_write_trailer(m->out);
    if (m->out->pb->error < 0)
        e = m->out->pb->error;
    int closed = avio_closep(&m->out->pb);
    if (e >= 0)
        e = closed;
    if (e >= 0)
        e = sync_path(m->part, O_RDONLY);
    if (e >= 0 && rename(m->part, m->path) != 0)
        e = AVERROR(errno);
    if (e < 0)
        return cannot_write(m, e, NULL, err);
    m->created = false;
    CLEANUP(kb_freep) char *folder = path_folder(m->path);
    sync_path(folder, O_RDONLY | O_DIRECTORY); // some file systems refuse; the file itself is safe
    return KB_OK;
}

void mux_close(struct mux *m)
{
    if (m->out)
        avio_closep(&m->out->pb);
    avformat_free_context(m->out);
    if (m->created)
        unlink(m->part);
    free(m->path);
    free(m->part);
    *m = (struct mux){0};
}
