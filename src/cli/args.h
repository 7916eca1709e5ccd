/* args.h — the words after `akidb <command>`: options from a table, the rest in order.
 *
 * The table is also the help: `akidb help import` and `akidb import --help` print usage, text,
 * options and examples of the very struct that the command parses with. Options are --name VALUE,
 * --name=VALUE or -x VALUE; "--" ends them; "-" is a word. A command that takes configuration also
 * understands --config FILE, every --section.key VALUE, and the short --data, --listen,
 * --log-level.
 *
 * Threads: one. Memory: everything borrows from argv.
 */
#pragma once
#include "cli/config.h"

enum ak_arg_type {
    AK_ARG_FLAG,  /* bool *, set true */
    AK_ARG_TEXT,  /* const char ** */
    AK_ARG_UINT,  /* uint64_t *, within min..max */
    AK_ARG_NUMBER /* double * */
};

struct ak_arg {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum ak_arg_type type;
    void *out;         /* its value beforehand is the default */
    uint64_t min;      /* UINT */
    uint64_t max;      /* UINT; 0: UINT64_MAX */
    const char *value; /* "NAME" in the help; NULL for flags */
    const char *help;
};

#define AK_ARG_WORDS_MAX 8

struct ak_args {
    const char *command;  /* "import", "bench ann" */
    const char *usage;    /* what follows the command */
    const char *about;    /* paragraphs, each line ending in a newline */
    const char *examples; /* lines, indented */
    const struct ak_arg *options;
    size_t option_count;
    size_t words_max;               /* how many words beside options it takes */
    struct ak_config_flags *config; /* NULL: takes no configuration */
    /* filled in by parse */
    const char *words[AK_ARG_WORDS_MAX];
    size_t word_count;
    bool helped; /* --help was given and the help is printed: the command has nothing to do */
};

/* AK_INVALID names the option, what it takes, or the one that was meant. */
AK_MUST enum ak_rc ak_args_parse(struct ak_args *args, int argc, char **argv, struct ak_err *err);
