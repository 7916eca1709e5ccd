/* config.c — the keys as a table, and the four layers: defaults, file, environment, flags. */
#include "cli/config.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/toml.h"
#include "cli/nearest.h"
#include <ctype.h>
#include <string.h>

#define ENV_PREFIX "AKIDB_"

static const struct ak_config_key keys[] = {
#define AK_CONFIG(section, key, type, text, min, max, unit, help)                                  \
    {#section,                                                                                     \
     #key,                                                                                         \
     #section "." #key,                                                                            \
     text,                                                                                         \
     unit,                                                                                         \
     help,                                                                                         \
     min,                                                                                          \
     max,                                                                                          \
     offsetof(struct ak_config, section##_##key),                                                  \
     AK_CONFIG_##type},
#include "cli/config.def"
#undef AK_CONFIG
};

#define KEY_COUNT (sizeof keys / sizeof keys[0])

const struct ak_config_key *ak_config_keys(size_t *count)
{
    *count = KEY_COUNT;
    return keys;
}

const struct ak_config_key *ak_config_find(struct ak_str dotted)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (ak_str_eq(dotted, ak_str_of(keys[i].dotted))) {
            return &keys[i];
        }
    }
    return NULL;
}

static const char *dotted_at(const void *ctx, size_t i)
{
    (void)ctx;
    return keys[i].dotted;
}

const char *ak_config_nearest(const char *dotted)
{
    return ak_nearest(dotted, dotted_at, NULL, KEY_COUNT);
}

void ak_config_init(struct ak_config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < KEY_COUNT; i++) {
        enum ak_rc rc = ak_config_set_text(config, &keys[i], ak_str_of(keys[i].text), NULL);
        AK_ASSERT(rc == AK_OK); /* a default of config.def does not fit its own bounds */
    }
}

void ak_config_release(struct ak_config *config)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (keys[i].type == AK_CONFIG_STRING || keys[i].type == AK_CONFIG_SECRET) {
            char **field = (char **)(void *)((char *)config + keys[i].offset);
            ak_free(*field);
            *field = NULL;
        }
    }
}

/* "unknown key 'wal.durabilty'; did you mean wal.durability?" with its origin before it. */
static enum ak_rc unknown_key(const char *origin, struct ak_str section, struct ak_str key,
                              struct ak_err *err)
{
    char dotted[192];
    (void)snprintf(dotted, sizeof dotted, "%.*s%s%.*s", AK_STR_ARG(section), key.len ? "." : "",
                   (int)key.len, key.p ? key.p : "");
    const char *near = ak_config_nearest(dotted);
    if (near) {
        return ak_fail(err, AK_INVALID, "%s: unknown key '%s'; did you mean %s?", origin, dotted,
                       near);
    }
    return ak_fail(err, AK_INVALID, "%s: unknown key '%s'; `akidb help config` lists all of them",
                   origin, dotted);
}

static bool is_section(struct ak_str name)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (ak_str_eq(name, ak_str_of(keys[i].section))) {
            return true;
        }
    }
    return false;
}

static const char *section_at(const void *ctx, size_t i)
{
    (void)ctx;
    return i > 0 && keys[i].section == keys[i - 1].section ? NULL : keys[i].section;
}

static enum ak_rc unknown_section(const char *origin, struct ak_str name, struct ak_err *err)
{
    char word[192];
    (void)snprintf(word, sizeof word, "%.*s", AK_STR_ARG(name));
    const char *near = ak_nearest(word, section_at, NULL, KEY_COUNT);
    return ak_fail(err, AK_INVALID, "%s: unknown section '%s'%s%s%s", origin, word,
                   near ? "; did you mean " : "; `akidb help config` lists all of them",
                   near ? near : "", near ? "?" : "");
}

static enum ak_rc set_from_toml(struct ak_config *config, const struct ak_config_key *key,
                                const struct ak_toml *node, struct ak_err *err)
{
    if (node->type == AK_TOML_STRING) {
        return ak_config_set_text(config, key, node->string, err);
    }
    if (node->type == AK_TOML_INTEGER) {
        return ak_config_set_number(config, key, node->integer, err);
    }
    if (node->type == AK_TOML_BOOL && key->type == AK_CONFIG_CHOICE) { /* "false|true" */
        return ak_config_set_text(config, key, node->boolean ? AK_STR("true") : AK_STR("false"),
                                  err);
    }
    bool is_number = key->type == AK_CONFIG_UINT || key->type == AK_CONFIG_SIZE;
    return ak_fail(err, AK_INVALID, "%s is %s; it takes %s (%s)", key->dotted,
                   ak_toml_type_name(node->type), is_number ? "a whole number" : "text in quotes",
                   key->unit);
}

enum ak_rc ak_config_read_toml(struct ak_config *config, struct ak_str text, const char *origin,
                               struct ak_err *err)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 16 * AK_CONFIG_FILE_MAX);
    const struct ak_toml *root;
    enum ak_rc rc = ak_toml_parse(text, origin, &arena, &root, err);
    if (rc != AK_OK) {
        ak_arena_release(&arena);
        return rc;
    }
    for (const struct ak_toml *s = root->first; s && rc == AK_OK; s = s->next) {
        char place[320];
        (void)snprintf(place, sizeof place, "%s:%u", origin, s->line);
        if (!is_section(s->key)) {
            rc = s->type == AK_TOML_TABLE ? unknown_section(place, s->key, err)
                                          : unknown_key(place, s->key, AK_STR_NONE, err);
            break;
        }
        if (s->type != AK_TOML_TABLE) {
            rc = ak_fail(err, AK_INVALID, "%s: %.*s is %s; it is a section: write [%.*s]", place,
                         AK_STR_ARG(s->key), ak_toml_type_name(s->type), AK_STR_ARG(s->key));
            break;
        }
        for (const struct ak_toml *n = s->first; n && rc == AK_OK; n = n->next) {
            (void)snprintf(place, sizeof place, "%s:%u", origin, n->line);
            char dotted[192];
            int len = snprintf(dotted, sizeof dotted, "%.*s.%.*s", AK_STR_ARG(s->key),
                               AK_STR_ARG(n->key));
            const struct ak_config_key *key =
                len < (int)sizeof dotted ? ak_config_find(ak_str_of(dotted)) : NULL;
            rc = key ? set_from_toml(config, key, n, err) : unknown_key(place, s->key, n->key, err);
            rc = rc != AK_OK && key ? ak_wrap(err, rc, "%s", place) : rc;
        }
    }
    ak_arena_release(&arena);
    return rc;
}

/* AKIDB_WAL_MAX_BYTES → the key wal.max_bytes; `name` is the variable without the prefix. */
static bool env_names(struct ak_str name, const struct ak_config_key *key)
{
    if (name.len != strlen(key->dotted)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char want = key->dotted[i] == '.' ? '_' : (char)toupper((unsigned char)key->dotted[i]);
        if (name.p[i] != want) {
            return false;
        }
    }
    return true;
}

/* Kubernetes puts AKIDB_DATA_PORT_8080_TCP=tcp://… and its like into every pod beside a Service
 * called akidb-data: no configuration of ours. */
static bool is_from_kubernetes(struct ak_str name, struct ak_str value)
{
    char word[192];
    (void)snprintf(word, sizeof word, "%.*s", AK_STR_ARG(name));
    return strstr(word, "_SERVICE_HOST") || strstr(word, "_SERVICE_PORT") ||
           strstr(word, "_PORT_") || ak_str_has_prefix(value, AK_STR("tcp://")) ||
           ak_str_has_prefix(value, AK_STR("udp://"));
}

/* One variable AKIDB_<name>. Names whose first word is none of our sections are not ours to judge:
 * AKIDB_URL, AKIDB_SIMD, a Service's. */
static enum ak_rc read_variable(struct ak_config *config, struct ak_str name, struct ak_str value,
                                struct ak_err *err)
{
    char variable[224];
    (void)snprintf(variable, sizeof variable, ENV_PREFIX "%.*s", AK_STR_ARG(name));
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (env_names(name, &keys[i])) {
            enum ak_rc rc = ak_config_set_text(config, &keys[i], value, err);
            return rc == AK_OK ? rc : ak_wrap(err, rc, "%s", variable);
        }
    }
    struct ak_str head;
    struct ak_str tail;
    if (!ak_str_split(name, '_', &head, &tail) || is_from_kubernetes(name, value)) {
        return AK_OK;
    }
    char section[64];
    char key[128];
    (void)snprintf(section, sizeof section, "%.*s", AK_STR_ARG(head));
    (void)snprintf(key, sizeof key, "%.*s", AK_STR_ARG(tail));
    for (char *p = section; *p; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    for (char *p = key; *p; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    return is_section(ak_str_of(section))
               ? unknown_key(variable, ak_str_of(section), ak_str_of(key), err)
               : AK_OK;
}

enum ak_rc ak_config_read_environment(struct ak_config *config, char *const *environment,
                                      struct ak_err *err)
{
    for (char *const *e = environment; e && *e; e++) {
        struct ak_str name;
        struct ak_str value;
        struct ak_str prefix = AK_STR(ENV_PREFIX);
        if (!ak_str_split(ak_str_of(*e), '=', &name, &value) || !ak_str_has_prefix(name, prefix)) {
            continue;
        }
        name = ak_str_sub(name, prefix.len, name.len);
        enum ak_rc rc = read_variable(config, name, value, err);
        if (rc != AK_OK) {
            return rc;
        }
    }
    return AK_OK;
}

enum ak_rc ak_config_read_flags(struct ak_config *config, const struct ak_config_flags *flags,
                                struct ak_err *err)
{
    for (size_t i = 0; i < flags->count; i++) {
        const struct ak_config_flag *flag = &flags->list[i];
        char origin[96];
        (void)snprintf(origin, sizeof origin, "--%s", flag->flag);
        const struct ak_config_key *key = ak_config_find(ak_str_of(flag->key));
        if (!key) {
            return unknown_key(origin, ak_str_of(flag->key), AK_STR_NONE, err);
        }
        enum ak_rc rc = ak_config_set_text(config, key, ak_str_of(flag->value), err);
        if (rc != AK_OK) {
            return ak_wrap(err, rc, "%s", origin);
        }
    }
    return AK_OK;
}

/* The file of --config must exist; ./akidb.toml may be absent. */
static enum ak_rc read_file(struct ak_config *config, const char *named, struct ak_err *err)
{
    const char *path = named ? named : AK_CONFIG_FILE;
    struct ak_buf text;
    ak_buf_init(&text, AK_CONFIG_FILE_MAX + 1);
    enum ak_rc rc = ak_fs_read_all(ak_fs_posix(), path, AK_CONFIG_FILE_MAX, &text, err);
    if (rc == AK_OK) {
        rc = ak_config_read_toml(config, ak_buf_str(&text), path, err);
    } else if (rc == AK_NOT_FOUND && !named) {
        ak_err_clear(err);
        rc = AK_OK;
    }
    ak_buf_release(&text);
    return rc;
}

enum ak_rc ak_config_load(struct ak_config *config, const struct ak_config_flags *flags,
                          char *const *environment, struct ak_err *err)
{
    struct ak_config next;
    ak_config_init(&next);
    enum ak_rc rc = read_file(&next, flags->file, err);
    if (rc == AK_OK) {
        rc = ak_config_read_environment(&next, environment, err);
    }
    if (rc == AK_OK) {
        rc = ak_config_read_flags(&next, flags, err);
    }
    if (rc != AK_OK) {
        ak_config_release(&next);
        return rc;
    }
    ak_config_release(config);
    *config = next;
    return AK_OK;
}
