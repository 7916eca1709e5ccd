/* fuzz: links index */
/* akx_fuzz.c — an index image of any bytes must be refused or be readable to its last byte.
 *
 * Each input is opened as it is, and again with its lengths and checksums made right, so that what
 * the checksums would have caught reaches the checks behind them. What opens is loaded as an index,
 * searched, written to, linked and searched again: a forged image may give bad recall and no bad
 * access.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "fuzz.h"
#include "index/image_priv.h"
#include "index/index.h"
#include <string.h>

enum { DIMENSION_MAX = 32 };

static void search(struct ak_index *index, struct ak_epoch *epoch, const uint64_t *allow)
{
    float vector[DIMENSION_MAX];
    struct ak_hit hits[20];
    uint32_t count = 0;
    for (int i = 0; i < DIMENSION_MAX; i++) {
        vector[i] = (float)(i % 5) - 1.5f;
    }
    struct ak_index_query query = {.vector = vector, .k = 20, .ef = 40, .allow = allow};
    query.allow_slots = allow ? 128 : 0;
    query.allow_count = allow ? 64 : 0;
    unsigned token = ak_epoch_enter(epoch);
    if (ak_index_search(index, &query, hits, &count, NULL, NULL) == AK_OK) {
        for (uint32_t i = 0; i < count; i++) {
            AK_ASSERT(hits[i].slot < ak_index_slots(index));
            vector[0] += ak_index_vector(index, hits[i].slot)[0];
        }
    }
    ak_epoch_leave(epoch, token);
}

static void write(struct ak_index *index)
{
    float vector[DIMENSION_MAX] = {1, 2, 3};
    uint32_t slot = 0;
    if (ak_index_thaw(index, NULL) != AK_OK) {
        return;
    }
    for (uint32_t i = 0; i < 8 && ak_index_add(index, vector, &slot, NULL) == AK_OK; i++) {
        vector[1] += 1;
    }
    for (uint32_t at = 0; at < ak_index_slots(index) && at < 64; at += 3) {
        ak_index_remove(index, at);
    }
    while (ak_index_build_some(index, 64)) {
    }
    (void)!ak_index_repair(index, NULL);
}

/* The state's own parameters, as the catalog would give them. */
static void load(const struct ak_image *image, const struct ak_image_section *state)
{
    uint32_t words[6];
    struct ak_index *index = NULL;
    if (state->len < sizeof words) {
        return;
    }
    memcpy(words, state->p, sizeof words);
    struct ak_epoch *epoch = ak_epoch_open();
    struct ak_index_options options = {.dimension = words[1],
                                       .metric = (enum ak_metric)words[2],
                                       .params = {.m = words[3],
                                                  .ef_construction = words[4],
                                                  .ef_search = 16,
                                                  .quantization = (enum ak_quantization)words[5]},
                                       .epoch = epoch,
                                       .exact_below = 1,
                                       .codes_from = 20};
    if (words[1] >= 1 && words[1] <= DIMENSION_MAX && words[2] < AK_METRIC_COUNT && words[3] >= 4 &&
        words[3] <= 64 && words[4] >= 16 && words[4] <= 2000 &&
        ak_index_load(&options, image, &index, NULL) == AK_OK) {
        const uint64_t allow[2] = {0x5555555555555555u, 0x5555555555555555u};
        struct ak_index_report report;
        (void)!ak_index_check(index, &report, NULL);
        search(index, epoch, NULL);
        search(index, epoch, allow);
        write(index);
        search(index, epoch, NULL);
        ak_index_close(index);
    }
    ak_epoch_close(epoch);
}

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
    if (ak_image_find(image, AK_IMAGE_INDEX_STATE, &section)) {
        load(image, &section);
    }
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
