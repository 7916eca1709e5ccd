/* help.c — akidb help [command | config [--toml]]. */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static void print_overview(void)
{
    (void)fputs("AkiDB " AKIDB_VERSION " — a vector database: one program, one folder.\n\n"
                "Usage: akidb COMMAND [options]\n\nCommands:\n",
                stdout);
    size_t count;
    const struct ak_cli_command *commands = ak_cli_commands(&count);
    for (size_t i = 0; i < count; i++) {
        (void)printf("  %-12s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fputs("\nFirst steps:\n"
                "  akidb serve                              runs a server on 127.0.0.1:8080\n"
                "  akidb import --collection docs --create docs.ndjson\n"
                "  akidb search --collection docs --vector '[0.1, 0.2, 0.3]'\n\n"
                "`akidb help COMMAND` explains a command, `akidb help config` the configuration.\n",
                stdout);
}

enum ak_rc ak_cli_help(int argc, char **argv, struct ak_err *err)
{
    bool toml = false;
    const struct ak_arg options[] = {
        {"toml", 0, AK_ARG_FLAG, &toml, 0, 0, NULL,
         "help config: print a configuration file with every key and its default"},
    };
    struct ak_args args = {
        .command = "help",
        .usage = "[COMMAND | config [--toml]]",
        .about = "Explains a command, or every configuration key.\n",
        .examples = "  akidb help import\n"
                    "  akidb help config\n"
                    "  akidb help config --toml > akidb.toml\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_max = 2,
    };
    enum ak_rc rc = ak_args_parse(&args, argc, argv, err);
    if (rc != AK_OK || args.helped) {
        return rc;
    }
    bool is_config = args.word_count > 0 && strcmp(args.words[0], "config") == 0;
    if (toml && !is_config) {
        return ak_fail(err, AK_INVALID, "--toml goes with `akidb help config`");
    }
    if (is_config) {
        (toml ? ak_config_print_toml : ak_config_print_table)(stdout);
        return AK_OK;
    }
    if (args.word_count == 0) {
        print_overview();
        return AK_OK;
    }
    const struct ak_cli_command *command = ak_cli_find(args.words[0]);
    if (!command) {
        return ak_cli_unknown(args.words[0], err);
    }
    char help_word[] = "--help";
    char sub[32];
    (void)snprintf(sub, sizeof sub, "%s", args.word_count > 1 ? args.words[1] : "");
    char *words[] = {sub, help_word, NULL};
    bool has_sub = args.word_count > 1;
    return command->run(has_sub ? 2 : 1, has_sub ? words : words + 1, err);
}
