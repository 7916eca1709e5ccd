/* config.h — the configuration: config.def filled in from defaults, file, environment and flags.
 *
 * Later layers win: defaults ← TOML file (--config FILE, or ./akidb.toml when there is one) ←
 * environment (AKIDB_ + SECTION + _ + KEY) ← flags (--section.key value). Whatever is not known, of
 * the wrong type or out of range stops the start with AK_INVALID and a sentence that begins with
 * its origin: "akidb.toml:12: wal.durability is "sink"; allowed are sync, interval, async".
 *
 * Sizes are whole numbers of bytes or text with a unit: B, KiB, MiB, GiB, TiB, or the decimal KB,
 * MB, GB, TB. Durations are text with a unit: ms, s, m, h, d.
 *
 * Threads: values; read-only once loaded. Memory: strings belong to the configuration.
 */
#pragma once
#include "base/limits.h"
#include "base/str.h"
#include <stdio.h>

#define AK_CONFIG_FILE "akidb.toml"
#define AK_CONFIG_FILE_MAX ((size_t)1 << 20) /* bytes; ours has 3 KiB */
#define AK_CONFIG_FLAGS_MAX 64               /* configuration flags of one command line */

enum ak_config_type {
    AK_CONFIG_STRING,   /* char * */
    AK_CONFIG_SECRET,   /* char *, never shown */
    AK_CONFIG_UINT,     /* uint64_t */
    AK_CONFIG_SIZE,     /* uint64_t, bytes */
    AK_CONFIG_DURATION, /* uint64_t, milliseconds */
    AK_CONFIG_CHOICE    /* uint64_t, position among the words of `unit` */
};

#define AK_CONFIG_C_STRING char *
#define AK_CONFIG_C_SECRET char *
#define AK_CONFIG_C_UINT uint64_t
#define AK_CONFIG_C_SIZE uint64_t
#define AK_CONFIG_C_DURATION uint64_t
#define AK_CONFIG_C_CHOICE uint64_t

/* One field per key, named section_key. */
struct ak_config {
#define AK_CONFIG(section, key, type, text, min, max, unit, help)                                  \
    AK_CONFIG_C_##type section##_##key;
#include "cli/config.def"
#undef AK_CONFIG
};

struct ak_config_key {
    const char *section;
    const char *key;
    const char *dotted; /* "section.key" */
    const char *text;   /* the default as a user would write it */
    const char *unit;
    const char *help;
    uint64_t min;
    uint64_t max;
    size_t offset; /* of the field in struct ak_config */
    enum ak_config_type type;
};

/* Configuration given on the command line, in its order. Borrows from argv. */
struct ak_config_flags {
    const char *file; /* --config, or NULL */
    struct ak_config_flag {
        const char *flag; /* as typed, without "--" and value */
        const char *key;  /* "section.key" */
        const char *value;
    } list[AK_CONFIG_FLAGS_MAX];
    size_t count;
};

const struct ak_config_key *ak_config_keys(size_t *count);
/* NULL when there is no such key. */
const struct ak_config_key *ak_config_find(struct ak_str dotted);
/* The key that a mistyped one may have meant, or NULL. */
const char *ak_config_nearest(const char *dotted);

void ak_config_init(struct ak_config *config); /* the defaults */
void ak_config_release(struct ak_config *config);
/* All four layers, in order. `environment` is the process's environ. AK_INVALID; AK_NOT_FOUND: the
 * file named by --config does not exist. The configuration keeps its defaults on failure. */
AK_MUST enum ak_rc ak_config_load(struct ak_config *config, const struct ak_config_flags *flags,
                                  char *const *environment, struct ak_err *err);

/* --- The layers, one by one --- */

AK_MUST enum ak_rc ak_config_read_toml(struct ak_config *config, struct ak_str text,
                                       const char *origin, struct ak_err *err);
AK_MUST enum ak_rc ak_config_read_environment(struct ak_config *config, char *const *environment,
                                              struct ak_err *err);
AK_MUST enum ak_rc ak_config_read_flags(struct ak_config *config,
                                        const struct ak_config_flags *flags, struct ak_err *err);
/* One value in text form. AK_INVALID with a sentence without origin. */
AK_MUST enum ak_rc ak_config_set_text(struct ak_config *config, const struct ak_config_key *key,
                                      struct ak_str value, struct ak_err *err);
/* One value that the file gives as a number. */
AK_MUST enum ak_rc ak_config_set_number(struct ak_config *config, const struct ak_config_key *key,
                                        int64_t value, struct ak_err *err);

/* --- Values as text --- */

#define AK_CONFIG_TEXT_MAX 32
/* "64MiB", "1500B": the largest unit that divides. */
const char *ak_config_size_text(uint64_t bytes, char text[AK_CONFIG_TEXT_MAX]);
const char *ak_config_duration_text(uint64_t ms, char text[AK_CONFIG_TEXT_MAX]);
AK_MUST bool ak_config_parse_size(struct ak_str text, uint64_t *bytes);
AK_MUST bool ak_config_parse_duration(struct ak_str text, uint64_t *ms);

/* --- The manual (akidb help config) --- */

void ak_config_print_table(FILE *out);
void ak_config_print_toml(FILE *out); /* examples/akidb.toml */
