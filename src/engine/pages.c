/* pages.c — pages of mapped images: asked for before they are needed, given back when the process
 * is too large.
 *
 * Where rows lie in an image, the walk of a search goes from page to page, and each that is not in
 * the system's cache is a read of 4 KiB that everything waits for: at 100,000 rows of 512
 * dimensions 3,000 of them to open an image and 1,500 a search, a tenth of a second each. Asked for
 * in large pieces, the links and codes of such an image are in memory in 40 ms, and what a search
 * reads of the rows themselves, two dozen pages, is left to it.
 *
 *   open      what opening reads whole, and what every search reads here and there
 *   search    the same again, when some of a few pages are not there, or when it met many that were
 *             not: the cache was needed for something else meanwhile
 *
 * Pages that searches map count for the process, though they are the cache's. Under a limit of
 * resident memory they are given back, the least recently used images first, by the trimmer
 * (background.c) and, at once, by the search that mapped the last of many: a core can map half a
 * gigabyte in a second.
 */
#include "base/mem.h"
#include "engine/engine_priv.h"
#include "index/image.h"

#define BRING_BYTES_MAX ((uint64_t)128 << 20) /* for searches: more does not come soon enough */
#define BRING_PAUSE_NS INT64_C(250000000)     /* between two times, of one collection */
#define MISSED_MIN 64u                        /* pages not there in one search: bring them */
#define MISSING_MIN (AK_IMAGE_SAMPLES / 2)    /* of those that are looked at before a search */
#define TRIM_BATCH 64u                        /* images let go between two looks at the size */
#define SLACK_SHARE 8u                        /* an eighth of the idle allowance stays free */
#define AROUND_PAGES 16u                      /* a fault maps those beside it that are in memory */

/* --- Bringing --- */

static uint64_t bytes_of(const struct ak_image *image, const uint32_t *kinds, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct ak_image_section section;
        bytes += ak_image_find(image, kinds[i], &section) ? section.len : 0;
    }
    return bytes;
}

static void bring(const struct ak_image *image, const uint32_t *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ak_image_bring(image, kinds[i]);
    }
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const uint32_t opened[] = {AK_IMAGE_LEVELS, AK_IMAGE_UPPER, AK_IMAGE_LINKS,
                                  AK_IMAGE_DOC_TEXT_AT};

/* What every search reads here and there, when beside `others` bytes it is not too much: codes, or
 * the rows where there are none, and what is told of hits. true: it was. */
static bool bring_searched(const struct ak_image *image, uint64_t others)
{
    static const uint32_t by_codes[] = {AK_IMAGE_CODES, AK_IMAGE_CODE_TERMS, AK_IMAGE_DOC_IDS,
                                        AK_IMAGE_DOC_TIMES};
    static const uint32_t by_rows[] = {AK_IMAGE_VECTORS, AK_IMAGE_SCALES, AK_IMAGE_DOC_IDS,
                                       AK_IMAGE_DOC_TIMES};
    struct ak_image_section codes;
    bool has_codes = ak_image_find(image, AK_IMAGE_CODES, &codes);
    const uint32_t *kinds = has_codes ? by_codes : by_rows;
    bool fits = bytes_of(image, kinds, COUNT(by_codes)) + others <= BRING_BYTES_MAX;
    if (fits) {
        bring(image, kinds, COUNT(by_codes));
    }
    return fits;
}

void ak_pages_bring(const struct ak_image *image)
{
    bring(image, opened, COUNT(opened)); /* opening reads all of it, however much that is */
    (void)bring_searched(image, 0);
}

static void bring_again(const struct ak_image *image)
{
    if (bring_searched(image, bytes_of(image, opened, COUNT(opened)))) {
        bring(image, opened, COUNT(opened));
    }
}

/* Not twice within a moment; one thread of several that want it. */
static bool may_bring(struct ak_collection *collection)
{
    int64_t now_ns = ak_mono_ns(ak_clock_system());
    int64_t last_ns = atomic_load_explicit(&collection->brought_ns, memory_order_relaxed);
    return (!last_ns || now_ns - last_ns >= BRING_PAUSE_NS) &&
           atomic_compare_exchange_strong(&collection->brought_ns, &last_ns, now_ns);
}

/* --- A search --- */

void ak_pages_before_search(struct ak_collection *collection, struct ak_memory_faults *before)
{
    ak_memory_faults(before);
    /* Who has the lock writes or loads it: then its pages are being read anyway. */
    if (!ak_mutex_try_lock(&collection->lock)) {
        return;
    }
    const struct ak_image *image = collection->image;
    struct ak_image_section codes;
    if (image) {
        uint32_t kind =
            ak_image_find(image, AK_IMAGE_CODES, &codes) ? AK_IMAGE_CODES : AK_IMAGE_VECTORS;
        uint64_t seed = (uint64_t)ak_mono_ns(ak_clock_system()) / 64;
        if (ak_image_missing(image, kind, seed) >= MISSING_MIN && may_bring(collection)) {
            bring_again(image);
        }
    }
    ak_mutex_unlock(&collection->lock);
}

/* The sample had missed it. */
static void bring_missed(struct ak_collection *collection)
{
    if (may_bring(collection) && ak_mutex_try_lock(&collection->lock)) {
        if (collection->image) {
            bring_again(collection->image);
        }
        ak_mutex_unlock(&collection->lock);
    }
}

void ak_pages_after_search(struct ak_collection *collection, const struct ak_memory_faults *before)
{
    struct ak_engine *engine = collection->engine;
    struct ak_memory_faults after;
    ak_memory_faults(&after);
    if (after.major - before->major >= MISSED_MIN) {
        bring_missed(collection);
    }
    if (!engine->resident_max_bytes) {
        return;
    }
    uint64_t mapped = after.minor - before->minor + after.major - before->major;
    uint64_t slack = engine->idle_bytes / SLACK_SHARE / 4096 / AROUND_PAGES;
    if (atomic_fetch_add_explicit(&engine->mapped_faults, mapped, memory_order_relaxed) + mapped >=
        slack) {
        atomic_store_explicit(&engine->mapped_faults, 0, memory_order_relaxed);
        ak_pages_let_go(engine);
    }
}

/* --- Giving back --- */

/* Its vectors are on disk: pages of the image's file that are mapped apart from the image. */
static bool has_file(const struct ak_collection *collection)
{
    struct ak_index_memory memory = {0};
    if (collection->entry->info.index.vectors == AK_VECTORS_DISK) {
        ak_index_memory(collection->index, &memory);
    }
    return memory.files > 0;
}

/* Up to TRIM_BATCH collections after `*after` places in the list, referenced. */
static size_t with_images(struct ak_engine *engine, uint32_t *after,
                          struct ak_collection *found[TRIM_BATCH])
{
    struct ak_directory *dir = &engine->directory;
    size_t n = 0;
    uint32_t place = 0;
    ak_mutex_lock(&dir->lock);
    for (struct ak_collection *at = dir->lru_first; at && n < TRIM_BATCH; at = at->lru_next) {
        if (place++ >= *after) {
            (*after)++;
            if (atomic_load_explicit(&at->is_borrowed, memory_order_relaxed) || has_file(at)) {
                at->refs++;
                found[n++] = at;
            }
        }
    }
    ak_mutex_unlock(&dir->lock);
    return n;
}

void ak_pages_trim(struct ak_engine *engine)
{
    if (atomic_exchange_explicit(&engine->wants_trim, false, memory_order_relaxed)) {
        ak_memory_trim(); /* small collections lived on the heap */
    }
}

/* false: it is in use by a writer. */
static bool let_go(struct ak_collection *collection)
{
    /* Who has the lock writes or loads it: then it is not one to let go. */
    bool is_ours = ak_mutex_try_lock(&collection->lock);
    if (is_ours && collection->image) {
        ak_image_let_go(collection->image, 0, ak_image_bytes(collection->image));
    }
    if (is_ours) {
        ak_index_let_go(collection->index);
        ak_mutex_unlock(&collection->lock);
    }
    return is_ours;
}

void ak_pages_let_go(struct ak_engine *engine)
{
    struct ak_collection *found[TRIM_BATCH];
    uint32_t after = 0;
    size_t n = 1;
    uint64_t slack = engine->idle_bytes / SLACK_SHARE; /* mapped until the next look */
    uint64_t max = engine->resident_max_bytes > slack ? engine->resident_max_bytes - slack : 0;
    if (atomic_exchange_explicit(&engine->lets_go, true, memory_order_acquire)) {
        return; /* somebody is at it */
    }
    bool over = ak_memory_resident() > max;
    while (n && over) {
        n = with_images(engine, &after, found);
        for (size_t i = 0; i < n; i++) {
            if (over && let_go(found[i])) {
                over = ak_memory_resident() > max;
            }
            ak_collection_unref(found[i]);
        }
    }
    atomic_store_explicit(&engine->lets_go, false, memory_order_release);
}
