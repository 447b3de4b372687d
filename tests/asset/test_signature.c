// What is taken for sound, a video or a picture, and what is not.
#include "tests/test.h"

#include "asset/signature.h"

#include <fcntl.h>

#define HEAD(text)                                                                                 \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }

struct head {
    const uint8_t *bytes;
    size_t n;
};

static void media_is_known(void **state)
{
    (void)state;
    static const struct head heads[] = {
        HEAD("\0\0\0\x20"
             "ftypisom\0\0\2\0"),
        HEAD("\0\0\0\x18"
             "ftypheic"),
        HEAD("\0\0\0\x08wide\0\0\0\0mdat"),
        HEAD("\0\0\x12\x34moov"),
        HEAD("RIFF\x24\0\0\0WAVEfmt "),
        HEAD("RIFF\x24\0\0\0AVI LIST"),
        HEAD("RIFF\x24\0\0\0WEBPVP8 "),
        HEAD("RF64\xff\xff\xff\xffWAVEds64"),
        HEAD("\x1a\x45\xdf\xa3\x9f\x42"),
        HEAD("FLV\x01\x05"),
        HEAD("OggS\0\2"),
        HEAD("fLaC\0"),
        HEAD("ID3\x04\0\0"),
        HEAD("#!AMR\n"),
        HEAD("\xff\xfb\x90\x64"),
        HEAD("\xff\xf3\x40\xc4"),
        HEAD("\0\0\0\0\0\xff\xfb\x90\x64"),
        HEAD("\xff\xf1\x50\x80"),
        HEAD("\xff\xf9\x50\x80"),
        HEAD("\xff\xd8\xff\xe0\0\x10JFIF"),
        HEAD("\x89PNG\r\n\x1a\n\0"),
        HEAD("GIF89a"),
        HEAD("\0\0\1\xba\x44"),
        HEAD("FORM\0\0\0\0AIFF"),
        HEAD("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1"),
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (!signature_is_media(heads[i].bytes, heads[i].n))
            fail_msg("number %zu, '%.*s'", i, (int)heads[i].n, (const char *)heads[i].bytes);
    uint8_t packets[3 * 192 + 1] = {0};
    packets[0] = packets[188] = packets[376] = 'G';
    assert_true(signature_is_media(packets, sizeof(packets)));
    assert_false(signature_is_media(packets, 300));
    memset(packets, 0, sizeof(packets));
    packets[4] = packets[196] = packets[388] = 'G';
    assert_true(signature_is_media(packets, sizeof(packets)));
    static const char *const clips[] = {"grid_brbk7n.mpg", "talks_15s.mp4"};
    for (size_t i = 0; i < ARRAY_LEN(clips); i++) {
        int fd = open(clip_path(clips[i]), O_RDONLY | O_CLOEXEC);
        assert_true(signature_of_file(fd));
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
        close(fd);
    }
}

static void other_files_are_not(void **state)
{
    (void)state;
    static const struct head heads[] = {
        HEAD(""),
        HEAD("a"),
        HEAD("KOUBO_TOKEN=4f5f6bd1a7b1c3e0\nPASSWORD=x\n"),
        HEAD("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE"),
        HEAD("root:x:0:0:root:/root:/bin/bash\n"),
        HEAD("SQLite format 3\0\x10\0\1\1"),
        HEAD("{\"webhook\":{\"secret\":\"x\"}}"),
        HEAD("[default]\naws_secret_access_key=x\n"),
        HEAD("#!/bin/sh\nexport KEY=1\n"),
        HEAD("PK\3\4\x14\0"),
        HEAD("\x7f"
             "ELF\2\1\1"),
        HEAD("%PDF-1.7\n"),
        HEAD("\x1f\x8b\x08\0"),
        HEAD("<?xml version=\"1.0\"?>"),
        HEAD("\xff\xfe"
             "K\0E\0Y\0=\0"),
        HEAD("\xfe\xff\0K\0E\0Y"),
        HEAD("\xef\xbb\xbfKEY=1\n"),
        HEAD("BMW_KEY=0123456789abcdef\n"),
        HEAD("RIFF=1\nKEY=2\nX=3\n"),
        HEAD("ID3=5\n"),
        HEAD("GIF=1\n"),
        HEAD("FLV=1\n"),
        HEAD("OggS=1\n"),
        HEAD("MAC address\n"),
        HEAD("GGGGGGGG\n"),
        HEAD("\0\0\0\0\0\0\0\0"),
        HEAD("\0"),
        HEAD("\xff\xff\xff\xff\xff\xff"),
        HEAD("WEBVTT\n\n"),
        HEAD("#EXTM3U\nfile:///etc/passwd\n"),
        HEAD("ffconcat version 1.0\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (signature_is_media(heads[i].bytes, heads[i].n))
            fail_msg("number %zu, '%.*s'", i, (int)heads[i].n, (const char *)heads[i].bytes);
    int fd = open(source_path("README.md"), O_RDONLY | O_CLOEXEC);
    assert_false(signature_of_file(fd));
    close(fd);
    assert_false(signature_of_file(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(media_is_known),
        cmocka_unit_test(other_files_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
