/* rand.h — random numbers as an object: seeded for tests, from the system otherwise.
 *
 * xoshiro256** (Blackman & Vigna 2018). Not for secrets: those use ak_random_bytes().
 * Threads: a generator belongs to one thread; ak_random_bytes from any.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct ak_rand {
    uint64_t s[4];
};

void ak_rand_seed(struct ak_rand *rand, uint64_t seed);
uint64_t ak_rand_u64(struct ak_rand *rand);
uint64_t ak_rand_below(struct ak_rand *rand, uint64_t bound); /* 0..bound-1, unbiased; bound > 0 */
double ak_rand_unit(struct ak_rand *rand);                    /* [0, 1) */
double ak_rand_normal(struct ak_rand *rand);                  /* mean 0, deviation 1 */
void ak_random_bytes(void *p, size_t len);                    /* getrandom(2) */
