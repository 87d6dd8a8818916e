#include "bench/chain/race.h"

struct chain_measured chain_measured_of(uint64_t hits, uint64_t runs)
{
    struct chain_measured m = {runs, hits, 0, 0, 1};
    if (runs == 0) return m;
    double n = (double)runs, z = 1.959964, p = (double)hits / n;
    double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    m.value = p;
    m.low = hits == 0 ? 0 : middle - half;
    m.high = hits == runs ? 1 : middle + half;
    return m;
}

double chain_race_nakamoto(double q, uint32_t k)
{
    double p = 1 - q, lambda = (double)k * q / p, sum = 1;
    if (q >= 0.5) return 1;
    double poisson = exp(-lambda);
    for (uint32_t m = 0; m <= k; m++) {
        if (m > 0) poisson *= lambda / (double)m;
        sum -= poisson * (1 - pow(q / p, (double)(k - m)));
    }
    return sum;
}

double chain_race_rosenfeld(double q, uint32_t k)
{
    double p = 1 - q, sum = 1, ways = 1; /* ways = C(m + k - 1, m) */
    if (q >= 0.5 || k == 0) return 1;
    for (uint32_t m = 0; m <= k; m++) {
        if (m > 0) ways *= (double)(m + k - 1) / (double)m;
        sum -= ways * (pow(p, k) * pow(q, m) - pow(p, m) * pow(q, k));
    }
    return sum;
}

struct chain_measured chain_race_measure(struct chain_random *r, double q, uint32_t k,
                                         uint64_t runs)
{
    uint64_t hits = 0;
    for (uint64_t i = 0; i < runs; i++) {
        int64_t behind = -1; /* of the attacker; the block that he mined ahead */
        for (uint32_t honest = 0; honest < k;) {
            bool his = chain_random_chance(r, q);
            behind += his ? -1 : 1;
            if (!his) honest++;
        }
        while (behind >= 0 && behind < (int64_t)CHAIN_RACE_LOST)
            behind += chain_random_chance(r, q) ? -1 : 1;
        if (behind < 0) hits++;
    }
    return chain_measured_of(hits, runs);
}

double chain_selfish_formula(double alpha, double gamma)
{
    double a = alpha, b = 1 - alpha;
    return (a * b * b * (4 * a + gamma * (1 - 2 * a)) - a * a * a) / (1 - a * (1 + (2 - a) * a));
}

struct chain_measured chain_selfish_measure(struct chain_random *r, double alpha, double gamma,
                                            uint64_t discoveries)
{
    uint64_t lead = 0, selfish = 0, honest = 0;
    bool tie = false;
    for (uint64_t i = 0; i < discoveries; i++) {
        bool his = chain_random_chance(r, alpha);
        if (tie) {
            /* Whoever finds the next block decides which of the two branches of one block stays. */
            bool on_his = his || chain_random_chance(r, gamma);
            selfish += his ? 2 : on_his ? 1 : 0;
            honest += his ? 0 : on_his ? 1 : 2;
            tie = false;
        } else if (his) {
            lead++;
        } else if (lead == 0) {
            honest++;
        } else if (lead == 1) {
            tie = true; /* he publishes his one block at once */
            lead = 0;
        } else if (lead == 2) {
            selfish += 2; /* he publishes both, and is one ahead */
            lead = 0;
        } else {
            selfish++; /* one of his is now certain to stay */
            lead--;
        }
    }
    return chain_measured_of(selfish, selfish + honest);
}
