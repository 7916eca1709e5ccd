/* bits.h — how many bits a number needs. Threads: pure. */
#pragma once
#include <stdint.h>

/* Of the binary form without leading zeros: 0 for 0, 1 for 1, 64 for UINT64_MAX. */
static inline unsigned ak_bit_width(uint64_t value)
{
    return value ? 64 - (unsigned)__builtin_clzll(value) : 0;
}
