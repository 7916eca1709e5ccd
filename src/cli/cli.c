/* cli.c — from the command line to a command, and from its code to the exit code. */
#include "cli/cli.h"
#include "cli/nearest.h"
#include <stdio.h>
#include <string.h>

static const struct ak_cli_command commands[] = {
#define AK_CLI_COMMAND(name, summary) {#name, ak_cli_##name, summary},
#define AK_CLI_COMMAND_NAMED(text, name, summary) {text, ak_cli_##name, summary},
#include "cli/commands.def"
#undef AK_CLI_COMMAND_NAMED
#undef AK_CLI_COMMAND
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

const struct ak_cli_command *ak_cli_commands(size_t *count)
{
    *count = COMMAND_COUNT;
    return commands;
}

const struct ak_cli_command *ak_cli_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static const char *name_at(const void *ctx, size_t i)
{
    (void)ctx;
    return commands[i].name;
}

enum ak_rc ak_cli_unknown(const char *name, struct ak_err *err)
{
    const char *near = ak_nearest(name, name_at, NULL, COMMAND_COUNT);
    if (near) {
        return ak_fail(err, AK_INVALID, "there is no command '%s'; did you mean %s?", name, near);
    }
    return ak_fail(err, AK_INVALID, "there is no command '%s'; `akidb help` lists them", name);
}

/* --version and --help are what people try first. */
static const char *command_of(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        return "help";
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        return "version";
    }
    return word;
}

int ak_cli_main(int argc, char **argv)
{
    struct ak_err err = {0};
    const char *word = argc > 1 ? command_of(argv[1]) : "help";
    int skip = argc > 1 ? 2 : 1;
    const struct ak_cli_command *command = ak_cli_find(word);
    enum ak_rc rc =
        command ? command->run(argc - skip, argv + skip, &err) : ak_cli_unknown(word, &err);
    if (rc == AK_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        rc = ak_fail(&err, AK_IO, "standard output could not be written");
    }
    if (rc != AK_OK) {
        (void)fprintf(stderr, "akidb: %s\n", err.text[0] ? err.text : ak_rc_text(rc));
    }
    return ak_rc_exit_code(rc);
}
