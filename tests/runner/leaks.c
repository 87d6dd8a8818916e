/* Linked into every Criterion binary: LeakSanitizer looks at the tests, not at their runner.
 *
 * The runner (libcriterion, libboxfort) forks while threads of its own allocate, and LeakSanitizer
 * now and then calls a block of it lost when it ends. A suppression by library would hide our leaks
 * too: every test is called from a frame of libcriterion. */
#include <stdlib.h>

int __lsan_is_turned_off(void);

/* Asked as a process ends. Workers, and whatever they start, have BXFI_MAP from libboxfort. */
int __lsan_is_turned_off(void)
{
    return getenv("BXFI_MAP") == NULL;
}
