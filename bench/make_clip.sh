#!/bin/sh
# A minute of 1280x720 at 25 frames a second from any film: looped, scaled, cut at the sides.
# usage: bench/make_clip.sh PERSON.mp4 CLIP.mp4
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 PERSON.mp4 CLIP.mp4" >&2
    exit 2
fi
exec ffmpeg -hide_banner -loglevel error -y -stream_loop -1 -i "$1" -t 60 -an \
    -vf "scale=1280:720:force_original_aspect_ratio=increase,crop=1280:720,fps=25" \
    -c:v libx264 -preset veryfast -crf 18 -pix_fmt yuv420p -movflags +faststart "$2"
