/* config_value.c — one value: text and numbers to a field, with the sentence when it does not fit.
 */
#include "base/mem.h"
#include "cli/config.h"
#include <inttypes.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"TiB", (uint64_t)1 << 40},
    {"GiB", (uint64_t)1 << 30},
    {"MiB", (uint64_t)1 << 20},
    {"KiB", (uint64_t)1 << 10},
    {"TB", 1000000000000u},
    {"GB", 1000000000u},
    {"MB", 1000000u},
    {"KB", 1000u},
    {"B", 1},
};

static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* "12 MiB" or "12MiB": whole number, unit. `bare` is the factor without a unit, 0: a unit is due.
 */
static bool parse_with_unit(struct ak_str text, const struct unit *units, size_t count,
                            uint64_t bare, uint64_t *out)
{
    size_t digits = 0;
    while (digits < text.len && text.p[digits] >= '0' && text.p[digits] <= '9') {
        digits++;
    }
    uint64_t number;
    if (!ak_str_u64(ak_str_sub(text, 0, digits), UINT64_MAX, &number)) {
        return false;
    }
    struct ak_str name = ak_str_trim(ak_str_sub(text, digits, text.len));
    uint64_t factor = name.len == 0 ? bare : 0;
    for (size_t i = 0; i < count && name.len > 0; i++) {
        if (ak_str_eq_nocase(name, ak_str_of(units[i].name))) {
            factor = units[i].factor;
            break;
        }
    }
    return factor != 0 && !__builtin_mul_overflow(number, factor, out);
}

bool ak_config_parse_size(struct ak_str text, uint64_t *bytes)
{
    return parse_with_unit(ak_str_trim(text), size_units, COUNT(size_units), 1, bytes);
}

bool ak_config_parse_duration(struct ak_str text, uint64_t *ms)
{
    return parse_with_unit(ak_str_trim(text), duration_units, COUNT(duration_units), 0, ms);
}

static const char *print_with_unit(uint64_t value, const struct unit *units, size_t count,
                                   const char *smallest, char text[AK_CONFIG_TEXT_MAX])
{
    for (size_t i = 0; i < count; i++) {
        if (value != 0 && value % units[i].factor == 0) {
            (void)snprintf(text, AK_CONFIG_TEXT_MAX, "%" PRIu64 "%s", value / units[i].factor,
                           units[i].name);
            return text;
        }
    }
    (void)snprintf(text, AK_CONFIG_TEXT_MAX, "%" PRIu64 "%s", value, smallest);
    return text;
}

const char *ak_config_size_text(uint64_t bytes, char text[AK_CONFIG_TEXT_MAX])
{
    /* Decimal units are understood, but what we print is binary. */
    return print_with_unit(bytes, size_units, 4, "B", text);
}

const char *ak_config_duration_text(uint64_t ms, char text[AK_CONFIG_TEXT_MAX])
{
    return print_with_unit(ms, duration_units, COUNT(duration_units), "s", text);
}

/* "sync|interval|async" → "sync, interval, async". */
static const char *words_of(const struct ak_config_key *key, char text[128])
{
    size_t at = 0;
    for (const char *p = key->unit; *p && at + 3 < 128; p++) {
        if (*p == '|') {
            text[at++] = ',';
            text[at++] = ' ';
        } else {
            text[at++] = *p;
        }
    }
    text[at] = '\0';
    return text;
}

static const char *bound_text(const struct ak_config_key *key, uint64_t bound,
                              char text[AK_CONFIG_TEXT_MAX])
{
    if (key->type == AK_CONFIG_SIZE) {
        return ak_config_size_text(bound, text);
    }
    if (key->type == AK_CONFIG_DURATION) {
        return ak_config_duration_text(bound, text);
    }
    (void)snprintf(text, AK_CONFIG_TEXT_MAX, "%" PRIu64, bound);
    return text;
}

static void *field_of(struct ak_config *config, const struct ak_config_key *key)
{
    return (char *)config + key->offset;
}

/* `shown` is the value as the user wrote it, quotes included where there were any. */
static enum ak_rc set_number(struct ak_config *config, const struct ak_config_key *key,
                             uint64_t value, const char *shown, struct ak_err *err)
{
    if (value < key->min || value > key->max) {
        char low[AK_CONFIG_TEXT_MAX];
        char high[AK_CONFIG_TEXT_MAX];
        return ak_fail(err, AK_INVALID, "%s is %s; allowed are %s to %s", key->dotted, shown,
                       bound_text(key, key->min, low), bound_text(key, key->max, high));
    }
    memcpy(field_of(config, key), &value, sizeof value);
    return AK_OK;
}

static enum ak_rc set_choice(struct ak_config *config, const struct ak_config_key *key,
                             struct ak_str value, const char *shown, struct ak_err *err)
{
    struct ak_str rest = ak_str_of(key->unit);
    for (uint64_t i = 0; rest.len > 0; i++) {
        struct ak_str word;
        struct ak_str tail;
        (void)ak_str_split(rest, '|', &word, &tail);
        if (ak_str_eq(word, value)) {
            memcpy(field_of(config, key), &i, sizeof i);
            return AK_OK;
        }
        rest = tail;
    }
    char words[128];
    return ak_fail(err, AK_INVALID, "%s is %s; allowed are %s", key->dotted, shown,
                   words_of(key, words));
}

static enum ak_rc set_string(struct ak_config *config, const struct ak_config_key *key,
                             struct ak_str value, struct ak_err *err)
{
    if (value.len < key->min || value.len > key->max) {
        return ak_fail(err, AK_INVALID, "%s has %zu bytes; allowed are %" PRIu64 " to %" PRIu64,
                       key->dotted, value.len, key->min, key->max);
    }
    if (memchr(value.p, '\0', value.len)) {
        return ak_fail(err, AK_INVALID, "%s has a NUL character in it", key->dotted);
    }
    char **field = field_of(config, key);
    if (*field && key->type == AK_CONFIG_SECRET) {
        explicit_bzero(*field, strlen(*field));
    }
    ak_free(*field);
    *field = ak_strdup_n(value.p, value.len);
    return AK_OK;
}

enum ak_rc ak_config_set_text(struct ak_config *config, const struct ak_config_key *key,
                              struct ak_str value, struct ak_err *err)
{
    char shown[96]; /* longer values are cut: the origin says where they are */
    (void)snprintf(shown, sizeof shown, "\"%.*s%s\"", (int)(value.len > 80 ? 80 : value.len),
                   value.p ? value.p : "", value.len > 80 ? "…" : "");
    uint64_t number;
    switch (key->type) {
    case AK_CONFIG_STRING:
    case AK_CONFIG_SECRET:
        return set_string(config, key, value, err);
    case AK_CONFIG_CHOICE:
        return set_choice(config, key, value, shown, err);
    case AK_CONFIG_UINT:
        if (!ak_str_u64(ak_str_trim(value), UINT64_MAX, &number)) {
            return ak_fail(err, AK_INVALID, "%s is %s; it takes a whole number (%s)", key->dotted,
                           shown, key->unit);
        }
        break;
    case AK_CONFIG_SIZE:
        if (!ak_config_parse_size(value, &number)) {
            return ak_fail(err, AK_INVALID,
                           "%s is %s; it takes a number of bytes, or text like \"64MiB\"",
                           key->dotted, shown);
        }
        break;
    case AK_CONFIG_DURATION:
        if (!ak_config_parse_duration(value, &number)) {
            return ak_fail(err, AK_INVALID,
                           "%s is %s; it takes a time with its unit, like \"10s\", \"500ms\" or "
                           "\"2h\"",
                           key->dotted, shown);
        }
        break;
    default:
        return ak_fail(err, AK_INTERNAL, "%s has an unknown type", key->dotted);
    }
    return set_number(config, key, number, shown, err);
}

enum ak_rc ak_config_set_number(struct ak_config *config, const struct ak_config_key *key,
                                int64_t value, struct ak_err *err)
{
    char shown[AK_CONFIG_TEXT_MAX];
    (void)snprintf(shown, sizeof shown, "%" PRId64, value);
    char words[128];
    switch (key->type) {
    case AK_CONFIG_SECRET:
        return ak_fail(err, AK_INVALID, "%s is a number; it takes text in quotes", key->dotted);
    case AK_CONFIG_STRING:
        return ak_fail(err, AK_INVALID, "%s is %s; it takes text in quotes (%s)", key->dotted,
                       shown, key->unit);
    case AK_CONFIG_CHOICE:
        return ak_fail(err, AK_INVALID, "%s is %s; allowed are %s", key->dotted, shown,
                       words_of(key, words));
    case AK_CONFIG_DURATION:
        return ak_fail(err, AK_INVALID,
                       "%s is %s; it takes a time with its unit in quotes, like \"10s\" or "
                       "\"500ms\"",
                       key->dotted, shown);
    case AK_CONFIG_UINT:
    case AK_CONFIG_SIZE:
    default:
        break;
    }
    /* A negative number fails the lower bound or, where that is 0, becomes larger than any bound.
     */
    return set_number(config, key, (uint64_t)value, shown, err);
}
