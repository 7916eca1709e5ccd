/* npy.h — reads the .npy files of NumPy (format 1.0 to 3.0): two dimensions, C order,
 * little-endian.
 *
 * Element types: f4, f2 (widened to f32, exactly) and, for ground truth, i4. The file must be as
 * long as its shape says. Rows are read on demand, so a file may be larger than memory.
 *
 * Threads: one, or several when each reads rows of its own buffer. Memory: see each call.
 */
#pragma once
#include "base/file.h"

enum ak_npy_type { AK_NPY_F32, AK_NPY_F16, AK_NPY_I32 };

struct ak_npy {
    struct ak_file *file;
    enum ak_npy_type type;
    uint64_t rows;
    uint32_t dimension; /* 1..AK_DIMENSION_MAX */
    uint64_t data_at;   /* where the first row begins */
};

/* AK_NOT_FOUND; AK_INVALID says what the file is and what is read here. */
AK_MUST enum ak_rc ak_npy_open(struct ak_fs *fs, const char *path, struct ak_npy *npy,
                               struct ak_err *err);
void ak_npy_close(struct ak_npy *npy); /* idempotent */
/* Rows [first, first + count) as f32 into out[count * dimension]. AK_INVALID: the file holds
 * integers. */
AK_MUST enum ak_rc ak_npy_read(const struct ak_npy *npy, uint64_t first, uint64_t count, float *out,
                               struct ak_err *err);
AK_MUST enum ak_rc ak_npy_read_i32(const struct ak_npy *npy, uint64_t first, uint64_t count,
                                   int32_t *out, struct ak_err *err);
/* Every row, in memory that ak_free() releases, aligned for the kernels. AK_NOMEM. */
AK_MUST enum ak_rc ak_npy_read_all(const struct ak_npy *npy, float **out, struct ak_err *err);
