/* image_priv.h — the byte layout that image.c reads and image_write.c writes.
 *
 * The structs are the bytes: every field is little-endian and naturally aligned, and the build
 * refuses a machine of the other order. docs/formats/akx.md describes the same in prose.
 */
#pragma once
#include "index/image.h"

#define AK_IMAGE_MAGIC "AKIDBAKX"
#define AK_IMAGE_VERSION 1u
#define AK_IMAGE_SECTIONS_MAX 4096u /* bounds what a reader walks before it trusts anything */
#define AK_IMAGE_BLOCK ((uint64_t)256 << 10) /* bytes under one checksum: 4 per 256 KiB */
#define AK_IMAGE_ALIGN_SHIFT_MIN 6u
#define AK_IMAGE_ALIGN_SHIFT_MAX 21u

struct ak_image_header {
    char magic[8];
    uint32_t version;
    uint32_t align_shift; /* sections and table begin at multiples of 1 << align_shift */
    uint64_t file_len;
    uint64_t toc_at;
    uint64_t toc_len; /* entries and block checksums; the table ends the file */
    uint32_t sections;
    uint32_t toc_crc;
    uint8_t zero[12];
    uint32_t crc; /* of the 60 bytes before it */
};

struct ak_image_entry {
    uint32_t kind;
    uint32_t flags; /* none are defined: a section with any is skipped like an unknown kind */
    uint64_t stride;
    uint64_t rows;
    uint64_t at;
    uint64_t len;         /* stride · rows */
    uint32_t block_first; /* index of its first block checksum */
    uint32_t block_count; /* ⌈len / AK_IMAGE_BLOCK⌉ */
};

_Static_assert(sizeof(struct ak_image_header) == 64, "the header is 64 bytes on disk");
_Static_assert(sizeof(struct ak_image_entry) == 48, "an entry is 48 bytes on disk");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "images are little-endian");

/* For messages: "links", or "unknown". */
const char *ak_image_kind_name(uint32_t kind);
