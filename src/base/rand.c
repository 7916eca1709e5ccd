/* rand.c — xoshiro256** (Blackman & Vigna 2018) and the system's random bytes. */
#include "base/rand.h"
#include "base/err.h"
#include "base/hash.h"
#include <errno.h>
#include <math.h>
#include <sys/random.h>

#define GOLDEN_GAMMA 0x9e3779b97f4a7c15u /* the step of SplitMix64 (Steele et al. 2014) */

__extension__ typedef unsigned __int128 wide;

static uint64_t rotate_left(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

/* SplitMix64 fills the state, as the authors advise: no seed gives the all-zero state. */
void ak_rand_seed(struct ak_rand *rand, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += GOLDEN_GAMMA;
        rand->s[i] = ak_mix64(seed);
    }
}

uint64_t ak_rand_u64(struct ak_rand *rand)
{
    uint64_t *s = rand->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire 2019, "Fast Random Integer Generation in an Interval": the division is seldom reached. */
uint64_t ak_rand_below(struct ak_rand *rand, uint64_t bound)
{
    AK_ASSERT(bound > 0);
    wide product = (wide)ak_rand_u64(rand) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (wide)ak_rand_u64(rand) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

double ak_rand_unit(struct ak_rand *rand)
{
    return (double)(ak_rand_u64(rand) >> 11) * 0x1p-53;
}

/* Marsaglia's polar method; the second value is dropped so that the state stays four words. */
double ak_rand_normal(struct ak_rand *rand)
{
    for (;;) {
        double x = 2.0 * ak_rand_unit(rand) - 1.0;
        double y = 2.0 * ak_rand_unit(rand) - 1.0;
        double square = x * x + y * y;
        if (square > 0.0 && square < 1.0) {
            return x * sqrt(-2.0 * log(square) / square);
        }
    }
}

void ak_random_bytes(void *p, size_t len)
{
    char *at = p;
    while (len) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0) {
            AK_ASSERT(errno == EINTR); /* Linux ≥ 3.17 has the call, and it has no other failure */
            continue;
        }
        at += got;
        len -= (size_t)got;
    }
}
