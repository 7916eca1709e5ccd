/* args.c — the option parser, and the help of one command. */
#include "cli/args.h"
#include "cli/nearest.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Flags of every command that takes configuration, and the keys that they stand for. */
static const struct {
    const char *flag;
    const char *key;
    const char *value;
    const char *help;
} shorthands[] = {
    {"data", "data.dir", "DIR", "the data folder (data.dir)"},
    {"listen", "server.listen", "ADDRESS:PORT", "where HTTP is served (server.listen)"},
    {"log-level", "log.level", "LEVEL", "debug, info, warn or error (log.level)"},
};

#define SHORTHAND_COUNT (sizeof shorthands / sizeof shorthands[0])

static const struct ak_arg *find(const struct ak_args *args, struct ak_str name, char letter)
{
    for (size_t i = 0; i < args->option_count; i++) {
        const struct ak_arg *arg = &args->options[i];
        if (letter ? arg->letter == letter : ak_str_eq(name, ak_str_of(arg->name))) {
            return arg;
        }
    }
    return NULL;
}

static void print_option(const char *name, char letter, const char *value, const char *help)
{
    char left[64];
    char key[8] = "";
    if (letter) {
        (void)snprintf(key, sizeof key, "-%c, ", letter);
    }
    (void)snprintf(left, sizeof left, "%s--%s%s%s", key, name, value ? " " : "",
                   value ? value : "");
    if (strlen(left) > 26) {
        (void)printf("  %s\n  %-26s  %s\n", left, "", help);
    } else {
        (void)printf("  %-26s  %s\n", left, help);
    }
}

static void print_help(const struct ak_args *args)
{
    (void)printf("Usage: akidb %s %s\n\n%s", args->command, args->usage, args->about);
    (void)printf("\nOptions:\n");
    for (size_t i = 0; i < args->option_count; i++) {
        const struct ak_arg *arg = &args->options[i];
        print_option(arg->name, arg->letter, arg->value, arg->help);
    }
    if (args->config) {
        for (size_t i = 0; i < SHORTHAND_COUNT; i++) {
            if (!find(args, ak_str_of(shorthands[i].flag), 0)) {
                print_option(shorthands[i].flag, 0, shorthands[i].value, shorthands[i].help);
            }
        }
        print_option("config", 0, "FILE", "read this configuration (else ./akidb.toml, if any)");
        print_option("SECTION.KEY", 0, "VALUE", "any key of `akidb help config`");
    }
    print_option("help", 'h', NULL, "this text");
    if (args->examples) {
        (void)printf("\nExamples:\n%s", args->examples);
    }
}

static const char *option_at(const void *ctx, size_t i)
{
    const struct ak_args *args = ctx;
    if (i < args->option_count) {
        return args->options[i].name;
    }
    i -= args->option_count;
    return i < SHORTHAND_COUNT ? shorthands[i].flag : "config";
}

static enum ak_rc unknown_option(const struct ak_args *args, const char *typed, struct ak_str name,
                                 struct ak_err *err)
{
    char word[96];
    (void)snprintf(word, sizeof word, "%.*s", AK_STR_ARG(name));
    size_t known = args->option_count + (args->config ? SHORTHAND_COUNT + 1 : 0);
    const char *near = ak_nearest(word, option_at, args, known);
    if (near && name.len > 1) {
        return ak_fail(err, AK_INVALID, "`akidb %s` has no option %s; did you mean --%s?",
                       args->command, typed, near);
    }
    return ak_fail(err, AK_INVALID, "`akidb %s` has no option %s; `akidb help %s` lists them",
                   args->command, typed, args->command);
}

static enum ak_rc set_option(const struct ak_arg *arg, const char *value, struct ak_err *err)
{
    if (arg->type == AK_ARG_TEXT) {
        *(const char **)arg->out = value;
    } else if (arg->type == AK_ARG_UINT) {
        uint64_t max = arg->max ? arg->max : UINT64_MAX;
        uint64_t number;
        if (!ak_str_u64(ak_str_of(value), max, &number) || number < arg->min) {
            return ak_fail(err, AK_INVALID,
                           "--%s is \"%s\"; it takes a whole number from %" PRIu64 " to %" PRIu64,
                           arg->name, value, arg->min, max);
        }
        *(uint64_t *)arg->out = number;
    } else if (arg->type == AK_ARG_NUMBER) {
        char *end;
        errno = 0;
        double number = strtod(value, &end);
        if (*value == '\0' || *end != '\0' || errno == ERANGE || number != number) {
            return ak_fail(err, AK_INVALID, "--%s is \"%s\"; it takes a number", arg->name, value);
        }
        *(double *)arg->out = number;
    }
    return AK_OK;
}

/* The key that a flag of the configuration stands for; NULL: it is none. */
static const char *config_key_of(const struct ak_args *args, const char *flag)
{
    if (!args->config) {
        return NULL;
    }
    for (size_t i = 0; i < SHORTHAND_COUNT; i++) {
        if (strcmp(flag, shorthands[i].flag) == 0) {
            return shorthands[i].key;
        }
    }
    return strchr(flag, '.') ? flag : NULL;
}

static enum ak_rc set_config(struct ak_args *args, const char *flag, const char *key,
                             const char *value, struct ak_err *err)
{
    struct ak_config_flags *config = args->config;
    if (config->count == AK_CONFIG_FLAGS_MAX) {
        return ak_fail(err, AK_INVALID, "more than %d configuration flags: use a file",
                       AK_CONFIG_FLAGS_MAX);
    }
    config->list[config->count++] = (struct ak_config_flag){flag, key, value};
    return AK_OK;
}

/* The option at argv[*i], which begins with '-'; takes its value too. */
static enum ak_rc parse_option(struct ak_args *args, int argc, char **argv, int *i,
                               struct ak_err *err)
{
    char *typed = argv[*i];
    bool is_long = typed[1] == '-';
    char *equals = is_long ? strchr(typed, '=') : NULL;
    size_t len = equals ? (size_t)(equals - typed) : strlen(typed);
    struct ak_str name =
        is_long ? (struct ak_str){typed + 2, len - 2} : (struct ak_str){typed + 1, len - 1};
    const struct ak_arg *arg = is_long         ? find(args, name, 0)
                               : name.len == 1 ? find(args, AK_STR_NONE, typed[1])
                                               : NULL;
    if (arg && arg->type == AK_ARG_FLAG) {
        if (equals) {
            return ak_fail(err, AK_INVALID, "--%s takes no value", arg->name);
        }
        *(bool *)arg->out = true;
        return AK_OK;
    }
    /* Splitting argv in place gives the name its end: argv is ours to change (C11 5.1.2.2.1). */
    if (equals) {
        *equals = '\0';
    }
    const char *flag = is_long ? typed + 2 : "";
    bool is_file = !arg && args->config && strcmp(flag, "config") == 0;
    const char *key = arg || is_file ? NULL : config_key_of(args, flag);
    if (!arg && !is_file && !key) {
        return unknown_option(args, typed, name, err);
    }
    if (!equals && *i + 1 >= argc) {
        return ak_fail(err, AK_INVALID, "%s needs a value%s%s", typed, arg ? ": " : "",
                       arg ? arg->value : "");
    }
    const char *value = equals ? equals + 1 : argv[++*i];
    if (arg) {
        return set_option(arg, value, err);
    }
    if (is_file) {
        args->config->file = value;
        return AK_OK;
    }
    return set_config(args, flag, key, value, err);
}

enum ak_rc ak_args_parse(struct ak_args *args, int argc, char **argv, struct ak_err *err)
{
    bool options_over = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!options_over && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(args);
            args->helped = true;
            return AK_OK;
        }
        if (!options_over && strcmp(word, "--") == 0) {
            options_over = true;
            continue;
        }
        if (!options_over && word[0] == '-' && word[1] != '\0') {
            enum ak_rc rc = parse_option(args, argc, argv, &i, err);
            if (rc != AK_OK) {
                return rc;
            }
            continue;
        }
        if (args->word_count == args->words_max) {
            return ak_fail(err, AK_INVALID, "'%s' is one word too many; the usage is: akidb %s %s",
                           word, args->command, args->usage);
        }
        args->words[args->word_count++] = word;
    }
    return AK_OK;
}
