/* config_help.c — the keys as a table for people, and as the example file. */
#include "cli/config.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

/* "1 to 1024 threads", "1MiB to 4GiB", "sync, interval or async". */
static const char *range_text(const struct ak_config_key *key, char text[128])
{
    char low[AK_CONFIG_TEXT_MAX];
    char high[AK_CONFIG_TEXT_MAX];
    switch (key->type) {
    case AK_CONFIG_SIZE:
        (void)snprintf(text, 128, "%s to %s", ak_config_size_text(key->min, low),
                       ak_config_size_text(key->max, high));
        break;
    case AK_CONFIG_DURATION:
        (void)snprintf(text, 128, "%s to %s", ak_config_duration_text(key->min, low),
                       ak_config_duration_text(key->max, high));
        break;
    case AK_CONFIG_UINT:
        (void)snprintf(text, 128, "%" PRIu64 " to %" PRIu64 " %s", key->min, key->max, key->unit);
        break;
    case AK_CONFIG_CHOICE: {
        size_t at = 0;
        const char *last = strrchr(key->unit, '|');
        for (const char *p = key->unit; *p && at + 8 < 128; p++) {
            const char *put = *p != '|' ? NULL : p == last ? " or " : ", ";
            at += put ? (size_t)snprintf(text + at, 128 - at, "%s", put) : 0;
            if (!put) {
                text[at++] = *p;
            }
        }
        text[at] = '\0';
        break;
    }
    case AK_CONFIG_STRING:
    case AK_CONFIG_SECRET:
    default:
        (void)snprintf(text, 128, "%s", key->unit);
        break;
    }
    return text;
}

static const char *variable_of(const struct ak_config_key *key, char text[96])
{
    (void)snprintf(text, 96, "AKIDB_%s", key->dotted);
    for (char *p = text; *p; p++) {
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
    }
    return text;
}

void ak_config_print_table(FILE *out)
{
    (void)fputs(
        "Configuration: defaults, then the TOML file (--config FILE, or ./akidb.toml), then the\n"
        "environment, then flags; later ones win. Every key is a flag (--wal.durability async)\n"
        "and a variable (AKIDB_WAL_DURABILITY=async). --data is short for --data.dir, --listen\n"
        "for --server.listen, --log-level for --log.level.\n"
        "Sizes are bytes or text like \"64MiB\"; times have a unit: \"500ms\", \"10s\", \"2h\".\n",
        out);
    size_t count;
    const struct ak_config_key *keys = ak_config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const struct ak_config_key *key = &keys[i];
        char range[128];
        char variable[96];
        if (i == 0 || strcmp(keys[i - 1].section, key->section) != 0) {
            (void)fprintf(out, "\n[%s]\n", key->section);
        }
        (void)fprintf(out, "  %-24s %s\n", key->dotted, key->help);
        (void)fprintf(out, "  %-24s default %s; %s; %s\n", "", key->text, range_text(key, range),
                      variable_of(key, variable));
    }
}

void ak_config_print_toml(FILE *out)
{
    (void)fputs(
        "# akidb.toml — every key with its default. Lines that you do not change may go.\n"
        "# Made by `akidb help config --toml`. Each key is also an environment variable\n"
        "# (AKIDB_WAL_DURABILITY) and a flag (--wal.durability), which win over this file.\n",
        out);
    size_t count;
    const struct ak_config_key *keys = ak_config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const struct ak_config_key *key = &keys[i];
        char range[128];
        if (i == 0 || strcmp(keys[i - 1].section, key->section) != 0) {
            (void)fprintf(out, "\n[%s]\n", key->section);
        }
        const char *quote = key->type == AK_CONFIG_UINT ? "" : "\"";
        (void)fprintf(out, "# %s (%s)\n", key->help, range_text(key, range));
        (void)fprintf(out, "%s = %s%s%s\n", key->key, quote, key->text, quote);
    }
}
