/* columns_pass.c — the inner loops of filters in plain C, and the choice of a faster set. */
#include "engine/columns_priv.h"
#include "simd/simd.h"
#include <string.h>

/* 64 bytes of 0 or 1 → 64 bits. The multiplication moves the low bit of byte i to bit 56 + i; no
 * two of its terms meet. */
static uint64_t pack(const uint8_t bytes[64])
{
    uint64_t bits = 0;
    for (size_t i = 0; i < 8; i++) {
        uint64_t eight;
        memcpy(&eight, bytes + 8 * i, sizeof eight);
        bits |= (eight * 0x0102040810204080u >> 56) << (8 * i);
    }
    return bits;
}

static uint64_t equal(const uint32_t codes[64], const uint32_t *wanted, unsigned count)
{
    uint8_t is_hit[64];
    uint64_t bits = 0;
    for (unsigned k = 0; k < count; k++) {
        for (unsigned i = 0; i < 64; i++) {
            is_hit[i] = codes[i] == wanted[k];
        }
        bits |= pack(is_hit);
    }
    return bits;
}

static uint64_t look_up(const uint32_t codes[64], const uint64_t *hits)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i++) {
        bits |= (hits[codes[i] / 64] >> (codes[i] % 64) & 1) << i;
    }
    return bits;
}

static uint64_t range(const union ak_entry_value values[64], double low, double high)
{
    uint8_t is_hit[64];
    for (unsigned i = 0; i < 64; i++) {
        is_hit[i] = (values[i].number >= low) & (values[i].number <= high);
    }
    return pack(is_hit);
}

static const struct ak_column_passes plain = {equal, look_up, range};

const struct ak_column_passes *ak_column_passes(void)
{
#ifdef __x86_64__
    enum ak_isa isa = ak_simd_get()->isa;
    return isa == AK_ISA_AVX2 || isa == AK_ISA_AVX512 ? &ak_column_passes_avx2 : &plain;
#else
    return &plain;
#endif
}
