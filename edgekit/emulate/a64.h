/* What kind of work an A64 instruction word is.
 *
 * The groups are those of the top-level table of the Arm Architecture Reference Manual for A-profile (DDI 0487),
 * C4.1 "A64 instruction set encoding", by op0 = bit 31 and op1 = bits 28:25:
 *     100x  data processing, immediate               integer
 *     101x  branches, exceptions and system          branch
 *     x1x0  loads and stores, SIMD ones and prefetches among them   load_store
 *     x101  data processing, register                integer
 *     x111  data processing, scalar floating point and Advanced SIMD   simd_fp, or dot_product
 *     0010  SVE, and 0000 with op0 = 1: SME          simd_fp; the emulated cores have neither
 */
#include <stddef.h>
#include <stdint.h>

enum { A64_INTEGER, A64_DOT_PRODUCT, A64_SIMD_FP, A64_LOAD_STORE, A64_BRANCH, A64_CLASSES };

/* Products of 8-bit integers or bfloat16, added up into 32 bits: "Advanced SIMD three-register extension" and
 * "Advanced SIMD vector x indexed element" of that table. Bit 30 (Q: 64 or 128 bits) and the registers are free. */
static const struct { uint32_t mask, value; } a64_dot_products[] = {
    {0xBFE0FC00, 0x0E809400}, /* SDOT (vector), FEAT_DotProd */
    {0xBFE0FC00, 0x2E809400}, /* UDOT (vector) */
    {0xBFC0F400, 0x0F80E000}, /* SDOT (by element) */
    {0xBFC0F400, 0x2F80E000}, /* UDOT (by element) */
    {0xBFE0FC00, 0x0E809C00}, /* USDOT (vector), FEAT_I8MM */
    {0xBFC0F400, 0x0F80F000}, /* USDOT (by element) */
    {0xBFC0F400, 0x0F00F000}, /* SUDOT (by element) */
    {0xBFE0FC00, 0x0E80A400}, /* SMMLA */
    {0xBFE0FC00, 0x2E80A400}, /* UMMLA */
    {0xBFE0FC00, 0x0E80AC00}, /* USMMLA */
    {0xBFE0FC00, 0x2E40FC00}, /* BFDOT (vector), FEAT_BF16 */
    {0xBFC0F400, 0x0F40F000}, /* BFDOT (by element) */
    {0xBFE0FC00, 0x2E40EC00}, /* BFMMLA */
};

static int a64_classify(uint32_t word)
{
    uint32_t op1 = word >> 25 & 0xF;

    if ((op1 & 0xE) == 0xA)
        return A64_BRANCH;
    if ((op1 & 0x5) == 0x4)
        return A64_LOAD_STORE;
    if ((op1 & 0xE) == 0x8 || (op1 & 0x7) == 0x5)
        return A64_INTEGER;
    for (size_t i = 0; i < sizeof a64_dot_products / sizeof *a64_dot_products; i++)
        if ((word & a64_dot_products[i].mask) == a64_dot_products[i].value)
            return A64_DOT_PRODUCT;
    return A64_SIMD_FP;
}
