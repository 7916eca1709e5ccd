/* hash_priv.h — the portable CRC32C, for machines without the instruction and for the tests.
 *
 * Threads: any.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* As ak_crc32c(), by tables alone. */
uint32_t ak_crc32c_by_table(uint32_t crc, const void *p, size_t len);
