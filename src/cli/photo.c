#include "cli/photo.h"

#include "base/file.h"
#include "media/reader.h"

// One woman, frontal, her mouth closed, at the left of a group. The photograph lies beside the
// build folder, like the models.
#define PHOTO  "node_modules/@vladmandic/face-api/demo/sample6.jpg"
#define LEFT   100
#define TOP    450
#define WIDTH  440
#define HEIGHT 420

enum kb_code photo_read(AVFrame **ret, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *reader = NULL;
    CLEANUP(av_frame_free) AVFrame *photo = NULL;
    CLEANUP(kb_freep) char *path = path_beside_program("../" PHOTO);
    if (!file_exists(path))
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the demo's photograph '%s' is missing: ./start.sh demo fetches it, a "
                         "package comes without it; or name a picture or video of your own"),
                       PHOTO);
    enum kb_code code = reader_open(&reader, path, NULL, err);
    if (code == KB_OK)
        code = reader_next(reader, &photo, err);
    if (code != KB_OK)
        return code;
    if (photo->width < LEFT + WIDTH || photo->height < TOP + HEIGHT)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the photograph '%s' is not the expected one; name a picture or video of "
                         "your own"),
                       path);
    photo->crop_left = LEFT;
    photo->crop_top = TOP;
    photo->crop_right = (size_t)(photo->width - LEFT - WIDTH);
    photo->crop_bottom = (size_t)(photo->height - TOP - HEIGHT);
    if (av_frame_apply_cropping(photo, AV_FRAME_CROP_UNALIGNED) < 0)
        return kb_no_memory(err);
    *ret = TAKE(photo);
    return KB_OK;
}
