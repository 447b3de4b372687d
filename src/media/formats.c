#include "media/formats.h"

#include "base/base.h"

#include <libavutil/avstring.h>
#include <libavutil/opt.h>

// Names as FFmpeg's, with commas between. One name of a demuxer that has several is enough.
static const char demuxers[] =
    "mov,mp4,matroska,webm,avi,flv,live_flv,kux,mpegts,mpeg,mpegvideo,asf,ogg,rm,mxf,dv,wtv,dhav,"
    "h264,hevc,m4v,obu,ivf,mjpeg,yuv4mpegpipe,"
    "wav,w64,mp3,aac,loas,flac,ac3,eac3,dts,amr,amrnb,amrwb,aiff,au,caf,wv,ape,tta,mpc,mpc8,"
    "gif,apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,jpegxl_pipe,j2k_pipe";

static const char decoders[] =
    // films
    "h264,hevc,libdav1d,libaom-av1,av1,vp8,vp9,libvpx,libvpx-vp9,vp3,vp5,vp6,vp6a,vp6f,vp7,"
    "mpeg1video,mpeg2video,mpegvideo,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4,h263,h263i,h263p,flv,"
    "wmv1,wmv2,wmv3,vc1,theora,rv10,rv20,rv30,rv40,svq1,svq3,indeo5,cinepak,"
    // recorders of screens
    "mss1,mss2,camtasia,tscc2,flashsv,flashsv2,zmbv,msvideo1,msrle,"
    // editors
    "mjpeg,prores,dnxhd,cfhd,dvvideo,qtrle,rawvideo,v210,v410,r210,hap,huffyuv,ffvhuff,utvideo,"
    "magicyuv,lagarith,ffv1,"
    // pictures
    "png,apng,gif,webp,bmp,tiff,jpeg2000,libjxl,"
    // sounds
    "aac,aac_latm,mp3float,mp3,mp2float,mp2,mp1float,mp1,ac3,eac3,dca,truehd,mlp,opus,libopus,"
    "vorbis,libvorbis,flac,alac,ape,wavpack,tta,mpc7,mpc8,speex,libspeex,amrnb,amrwb,"
    "libopencore_amrnb,libopencore_amrwb,wmav1,wmav2,wmapro,wmalossless,wmavoice,cook,real_144,"
    "real_288,sipr,qdm2,qcelp,evrc,ilbc,nellymoser,gsm,gsm_ms,libgsm,libgsm_ms,g722,g726,g726le,"
    "adpcm_ima_wav,adpcm_ima_qt,adpcm_ms,adpcm_swf,adpcm_yamaha,dvaudio,"
    "pcm_u8,pcm_s8,pcm_u16le,pcm_u16be,pcm_s16le,pcm_s16be,pcm_u24le,pcm_u24be,pcm_s24le,pcm_s24be,"
    "pcm_u32le,pcm_u32be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,"
    "pcm_mulaw,pcm_bluray,pcm_dvd,pcm_s8_planar,pcm_s16le_planar,pcm_s16be_planar,"
    "pcm_s24le_planar,pcm_s32le_planar,s302m,"
    // texts
    "mov_text,subrip,srt,ass,ssa,webvtt,text";

bool format_allowed(const AVInputFormat *format)
{
    return av_match_list(format->name, demuxers, ',') > 0;
}

static bool decoder_allowed(const AVCodec *codec)
{
    return av_match_list(codec->name, decoders, ',') > 0;
}

const AVCodec *format_decoder(enum AVCodecID id)
{
    const AVCodec *first = avcodec_find_decoder(id);
    if (!first || decoder_allowed(first))
        return first;
    void *at = NULL;
    for (const AVCodec *c; (c = av_codec_iterate(&at));)
        if (c->id == id && av_codec_is_decoder(c) && decoder_allowed(c))
            return c;
    return NULL;
}

bool format_restrict(AVFormatContext *demux)
{
    return av_opt_set(demux, "format_whitelist", demuxers, 0) >= 0 &&
           av_opt_set(demux, "codec_whitelist", decoders, 0) >= 0;
}
