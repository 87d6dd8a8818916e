/*
 * pbft/panic.c - where a broken invariant of ours ends the process.
 *
 * The only file of pbft/ that may call the outside world: it is the boundary of `make purity`.
 */
#include "pbft/types.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void pbft_panic(const char *file, int line, const char *condition)
{
    /* One call, one line, so that lines of several threads are not mixed. */
    (void)fprintf(stderr, "panic: %s:%d: broken invariant: %s\n", file, line, condition);
    abort();
}
