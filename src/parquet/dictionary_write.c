/* dictionary_write.c — the distinct values of a column chunk, and where each row's stands among
 * them.
 *
 * A chunk gets a dictionary when that is smaller than its values: distinct values and indexes
 * against the values themselves. Looking stops at AK_PARQUET_DICT_MAX.
 */
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <string.h>

#define RECENT 1024u /* values met lately, by hash: most columns repeat themselves */

struct maker {
    const struct ak_parquet_column *column;
    struct ak_dictionary *dictionary;
    size_t width;    /* bytes of a value; 0: byte arrays */
    uint32_t *place; /* of each distinct value in `plain` */
    uint32_t place_cap;
    struct ak_map map;
    uint32_t recent[RECENT]; /* index + 1 */
    uint64_t plain_bytes;    /* what all values take without a dictionary */
    bool is_over;
};

/* The value at `place`, as PLAIN stores it but for the length. */
static struct ak_str stored(const struct maker *maker, uint32_t index)
{
    const char *p = maker->dictionary->plain.p + maker->place[index];
    if (maker->width) {
        return (struct ak_str){p, maker->width};
    }
    uint32_t len;
    memcpy(&len, p, sizeof len);
    return (struct ak_str){p + sizeof len, len};
}

static bool same(const void *ctx, uint32_t value, const void *key)
{
    return ak_str_eq(stored(ctx, value), *(const struct ak_str *)key);
}

static enum ak_rc add_distinct(struct maker *maker, uint64_t hash, struct ak_str value,
                               struct ak_err *err)
{
    struct ak_dictionary *dictionary = maker->dictionary;
    if (dictionary->plain.len + value.len + 4 > AK_PARQUET_DICT_MAX) {
        maker->is_over = true;
        return AK_OK;
    }
    if (dictionary->count == maker->place_cap) {
        uint32_t cap = maker->place_cap ? maker->place_cap * 2 : 256;
        uint32_t *grown = ak_try_realloc(maker->place, cap * sizeof *grown);
        if (!grown) {
            return ak_fail(err, AK_NOMEM, "dictionary of %u values", cap);
        }
        maker->place = grown;
        maker->place_cap = cap;
    }
    maker->place[dictionary->count] = (uint32_t)dictionary->plain.len;
    if (maker->width) {
        ak_buf_add_str(&dictionary->plain, value);
    } else {
        ak_parquet_put_bytes(&dictionary->plain, &value, 1);
    }
    enum ak_rc rc = ak_buf_check(&dictionary->plain, err);
    if (rc == AK_OK) {
        rc = ak_map_put(&maker->map, hash, &value, dictionary->count, same, maker, NULL, err);
    }
    dictionary->count += rc == AK_OK;
    return rc;
}

static enum ak_rc note(struct maker *maker, struct ak_str value, struct ak_err *err)
{
    struct ak_dictionary *dictionary = maker->dictionary;
    uint64_t hash = ak_hash64_str(value);
    uint32_t *recent = &maker->recent[hash % RECENT];
    enum ak_rc rc = AK_OK;
    maker->plain_bytes += value.len + (maker->width ? 0 : 4);
    if (!*recent || !ak_str_eq(stored(maker, *recent - 1), value)) {
        uint32_t index = ak_map_get(&maker->map, hash, &value, same, maker);
        if (index == AK_MAP_NONE) {
            index = dictionary->count;
            rc = add_distinct(maker, hash, value, err);
        }
        *recent = maker->is_over || rc != AK_OK ? *recent : index + 1;
    }
    if (rc == AK_OK && !maker->is_over) {
        dictionary->indexes[dictionary->index_count++] = *recent - 1;
    }
    return rc;
}

static enum ak_rc note_row(struct maker *maker, const struct ak_parquet_values *values,
                           uint64_t row, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (maker->column->is_list) {
        const char *list = values->row(values->ctx, row);
        for (uint32_t i = 0; i < maker->column->dimension && rc == AK_OK && !maker->is_over; i++) {
            rc = note(maker, (struct ak_str){list + i * maker->width, maker->width}, err);
        }
        return rc;
    }
    if (values->valid && !values->valid[row]) {
        return AK_OK;
    }
    if (maker->column->type == AK_PARQUET_BYTE_ARRAY || maker->column->type == AK_PARQUET_FIXED) {
        return note(maker, values->bytes[row], err);
    }
    const char *at = (const char *)values->fixed + row * maker->width;
    return note(maker, (struct ak_str){at, maker->width}, err);
}

static unsigned bits_for(uint32_t count)
{
    return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

void ak_dictionary_release(struct ak_dictionary *dictionary)
{
    ak_free(dictionary->indexes);
    ak_buf_release(&dictionary->plain);
    *dictionary = (struct ak_dictionary){0};
}

enum ak_rc ak_dictionary_make(const struct ak_parquet_column *column,
                              const struct ak_parquet_values *values, uint64_t rows,
                              struct ak_dictionary *dictionary, struct ak_err *err)
{
    struct maker *maker = ak_try_zalloc(sizeof *maker);
    uint64_t most = column->is_list ? rows * column->dimension : rows;
    *dictionary = (struct ak_dictionary){0};
    ak_buf_init(&dictionary->plain, AK_PARQUET_DICT_MAX + 1024);
    dictionary->indexes = ak_try_alloc((size_t)most * sizeof *dictionary->indexes);
    if (!maker || !dictionary->indexes) {
        ak_free(maker);
        ak_dictionary_release(dictionary);
        return ak_fail(err, AK_NOMEM, "dictionary of column '%s'", column->name);
    }
    maker->column = column;
    maker->dictionary = dictionary;
    maker->width =
        column->type == AK_PARQUET_FIXED ? column->fixed_len : ak_parquet_width(column->type);
    ak_map_init(&maker->map);
    enum ak_rc rc = AK_OK;
    for (uint64_t row = 0; row < rows && rc == AK_OK && !maker->is_over; row++) {
        rc = note_row(maker, values, row, err);
    }
    dictionary->bits = bits_for(dictionary->count);
    uint64_t bytes = dictionary->plain.len + dictionary->index_count * dictionary->bits / 8;
    if (rc != AK_OK || maker->is_over || dictionary->count == 0 || bytes >= maker->plain_bytes) {
        ak_dictionary_release(dictionary);
    }
    ak_map_release(&maker->map);
    ak_free(maker->place);
    ak_free(maker);
    return rc;
}
