/* cli.h — the commands of `akidb`: one file each, listed once in commands.def.
 *
 * A command gets the words after its name, prints its results on standard output, and returns a
 * code with a sentence in *err, which ak_cli_main() prints as "akidb: …" and turns into the exit
 * code (err.def). --help, an unknown word and its nearest neighbour are the same everywhere
 * (args.h).
 *
 * Threads: the main one. Memory: see each call.
 */
#pragma once
#include "cli/args.h"

typedef enum ak_rc (*ak_cli_fn)(int argc, char **argv, struct ak_err *err);

struct ak_cli_command {
    const char *name;
    ak_cli_fn run;
    const char *summary;
};

#define AK_CLI_COMMAND(name, summary)                                                              \
    enum ak_rc ak_cli_##name(int argc, char **argv, struct ak_err *err);
#define AK_CLI_COMMAND_NAMED(text, name, summary) AK_CLI_COMMAND(name, summary)
#include "cli/commands.def"
#undef AK_CLI_COMMAND_NAMED
#undef AK_CLI_COMMAND

const struct ak_cli_command *ak_cli_commands(size_t *count);
/* NULL when there is none. */
const struct ak_cli_command *ak_cli_find(const char *name);
/* AK_INVALID: "there is no command 'serv'; did you mean serve?" */
enum ak_rc ak_cli_unknown(const char *name, struct ak_err *err);
/* The whole program; returns the exit code. */
int ak_cli_main(int argc, char **argv);
/* Options of every command that works on a server or a folder. */
#define AK_CLI_TARGET_OPTIONS(url_out, dir_out)                                                    \
    {"url", 0, AK_ARG_TEXT, &(url_out),                                                            \
     0,     0, "URL",       "the server (else $AKIDB_URL, else the configured one)"},              \
    {                                                                                              \
        "data", 0, AK_ARG_TEXT, &(dir_out), 0, 0, "DIR",                                           \
            "work on this data folder directly; no server may have it open"                        \
    }
