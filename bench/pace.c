#include "bench/pace.h"

#define NS UINT64_C(1000000000)

/* Whole seconds apart: no product overflows within 500 years. */
static uint64_t scaled(uint64_t value, uint64_t by, uint64_t per)
{
    return value / per * by + value % per * by / per;
}

uint64_t pace_time(const struct pace *p, uint64_t turn)
{
    return p->begun_ns + scaled(turn * p->bundle, NS, p->rate);
}

uint64_t pace_due(const struct pace *p, uint64_t now_ns)
{
    if (now_ns < p->begun_ns) return 0;
    uint64_t passed = scaled(now_ns - p->begun_ns, p->rate, NS) / p->bundle + 1;
    return passed > p->taken ? passed - p->taken : 0;
}

uint64_t pace_take(struct pace *p)
{
    return pace_time(p, p->taken++);
}

void pace_forget(struct pace *p, uint64_t now_ns, uint64_t keep)
{
    uint64_t due = pace_due(p, now_ns);
    if (due > keep) p->taken += due - keep;
}
