/* replay.c — feeds every file of the given folders to a fuzz target, without a fuzzer.
 *
 * Links with one <name>_fuzz.c. A finding aborts, as under the fuzzer; the name of the file at work
 * is printed by then. Closes with "N passed, 0 failed"; a folder without files is a failure.
 */
#include "base/mem.h"
#include "fuzz.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static size_t passed;
static size_t failed;

static void complain(const char *path)
{
    (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    failed++;
}

static void replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = ak_alloc(size);
    if (!file || fread(bytes, 1, size, file) != size) {
        complain(path);
    } else {
        (void)printf("%s\n", path);
        (void)fflush(stdout);
        (void)LLVMFuzzerTestOneInput(bytes, size);
        passed++;
    }
    if (file) {
        (void)fclose(file);
    }
    ak_free(bytes);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay_folder(const char *folder)
{
    struct dirent **entries = NULL;
    size_t before = passed + failed;
    int count = scandir(folder, &entries, is_visible, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4096];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (stat(path, &st) != 0) {
            complain(path);
        } else if (S_ISREG(st.st_mode)) {
            replay_file(path, (size_t)st.st_size);
        }
        free(entries[i]); /* scandir's own allocation */
    }
    free(entries);
    if (passed + failed == before) {
        (void)fprintf(stderr, "%s: no inputs\n", folder);
        failed++;
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        replay_folder(argv[i]);
    }
    (void)printf("%zu passed, %zu failed\n", passed, failed);
    return failed || passed == 0 ? 1 : 0;
}
