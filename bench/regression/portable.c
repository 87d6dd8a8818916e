/* Every processor looks the same to libsodium, which asks these functions of its own which
 * instructions it may use: x86-64 without AVX2 and the like, so that counts do not depend on the
 * machine. The executable's definitions go before those of the shared library. */
#include <sodium.h>

int sodium_runtime_has_sse3(void)
{
    return 0;
}

int sodium_runtime_has_ssse3(void)
{
    return 0;
}

int sodium_runtime_has_sse41(void)
{
    return 0;
}

int sodium_runtime_has_avx(void)
{
    return 0;
}

int sodium_runtime_has_avx2(void)
{
    return 0;
}

int sodium_runtime_has_avx512f(void)
{
    return 0;
}

int sodium_runtime_has_pclmul(void)
{
    return 0;
}

int sodium_runtime_has_aesni(void)
{
    return 0;
}
