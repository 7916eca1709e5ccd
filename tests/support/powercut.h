/* powercut.h — a file system that remembers everything, and what a power cut could leave of it.
 *
 *   struct powercut *cut = powercut_open(ak_fs_posix(), dir);   // dir: the folder under test
 *   … run the code under test on powercut_fs(cut), with paths below dir …
 *   for (size_t at = 0; at <= powercut_ops(cut); at++) {
 *       powercut_image(cut, at, POWERCUT_RANDOM, &rand, out);   // out: a folder it may replace
 *       … open `out` with the ordinary fs: everything acknowledged by operation `at` is there …
 *   }
 *   powercut_close(cut);
 *
 * Operations are carried out on the real folder and recorded: write, truncate, allocate, sync of a
 * file; create, link, rename, remove, make_dir, remove_dir, sync_dir. What is in `dir` at open, or
 * linked into it from outside, counts as durable.
 *
 * An image is one state that the contract of base/file.h allows after a cut between operations
 * `at` - 1 and `at`:
 *   - Per file, what the last sync before the cut covered is there. Each 512-byte sector touched
 *     since then has, on its own, the bytes of some moment between that sync and the cut; so has
 *     the size. A sector that was never written holds zeros.
 *   - Per folder, names as of its last sync_dir. Each create, link, rename, remove, make_dir and
 *     remove_dir since then has taken place or not, on its own; a rename is never half done.
 * POWERCUT_ALL keeps all that was not synced (kill -9), POWERCUT_NONE drops all of it,
 * POWERCUT_RANDOM draws each choice from `rand`, and POWERCUT_MIXED draws "all", "none" or "each"
 * per file and for the names: states that independent draws would almost never reach.
 *
 * When was something acknowledged? Take powercut_ops() in the callback that acknowledges: it must
 * be in every image with `at` ≥ that number.
 *
 * Not seen: writes through mmap or through ak_file_fd(). Paths outside `dir` are not recorded.
 * A failure of the real file system ends the process. Threads: the fs from any; the images while
 * nothing uses the fs. Memory: the trace keeps every byte written.
 */
#pragma once
#include "base/file.h"
#include "base/rand.h"

struct powercut;

enum powercut_mode { POWERCUT_ALL, POWERCUT_NONE, POWERCUT_RANDOM, POWERCUT_MIXED };

struct powercut *powercut_open(struct ak_fs *under, const char *dir);
void powercut_close(struct powercut *cut); /* not before the last file of it is closed */
struct ak_fs *powercut_fs(struct powercut *cut);

/* Operations recorded so far; cuts are possible at 0..powercut_ops(). From any thread. */
size_t powercut_ops(struct powercut *cut);
/* A line about operation `at`, for messages of failing tests. Borrowed, until powercut_close(). */
const char *powercut_op_text(struct powercut *cut, size_t at);

/* Build the image in `out_dir`, which is emptied or made first. `rand` may be NULL for ALL and
 * NONE. */
void powercut_image(struct powercut *cut, size_t at, enum powercut_mode mode, struct ak_rand *rand,
                    const char *out_dir);
