/* fuzz: links index */
/* akx_fuzz.c — an index image of any bytes must be refused or be readable to its last byte.
 *
 * Each input is opened as it is, and again with its lengths and checksums made right, so that what
 * the checksums would have caught reaches the checks behind them.
 */
#include "fuzz.h"
#include "base/hash.h"
#include "base/mem.h"
#include "index/image_priv.h"
#include <string.h>

static void use(const char *bytes, size_t len)
{
    struct ak_image *image = NULL;
    struct ak_image_section section;
    struct ak_err err;
    if (ak_image_open_blob(ak_strdup_n(bytes, len), len, &image, &err) != AK_OK) {
        return;
    }
    uint32_t sum = 0;
    for (uint32_t kind = 1; kind < 128; kind++) {
        if (!ak_image_find(image, kind, &section)) {
            continue;
        }
        AK_ASSERT(section.len == section.stride * section.rows);
        sum = ak_crc32c(sum, section.p, (size_t)section.len); /* reads all of it */
        AK_ASSERT(ak_image_need(image, kind, section.stride, section.rows, &section, &err) ==
                  AK_OK);
        AK_ASSERT(ak_image_need(image, kind, section.stride, section.rows + 1, &section, &err) ==
                  AK_CORRUPT);
        (void)!ak_image_check(image, kind, &err);
    }
    (void)!ak_image_check_all(image, &err);
    ak_image_close(image);
}

static void seal(char *bytes, size_t len)
{
    struct ak_image_header header;
    memcpy(&header, bytes, sizeof header);
    memcpy(header.magic, AK_IMAGE_MAGIC, sizeof header.magic);
    header.file_len = len;
    if (header.toc_at <= len) {
        header.toc_len = len - header.toc_at;
        header.toc_crc = ak_crc32c(0, bytes + header.toc_at, (size_t)header.toc_len);
    }
    header.crc = ak_crc32c(0, &header, offsetof(struct ak_image_header, crc));
    memcpy(bytes, &header, sizeof header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = ak_strdup_n((const char *)data, size);
    use(bytes, size);
    if (size >= sizeof(struct ak_image_header)) {
        seal(bytes, size);
        use(bytes, size);
    }
    ak_free(bytes);
    return 0;
}
