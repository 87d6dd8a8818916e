/* What /readyz answers: the gravest reason, in one sentence, or none. */
#include "replica/ready.h"

#include "pbft/quorum.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct asked {
    struct pbft_node_info node;
    struct pbft_params params;
    struct pbft_ready_question question;
    char why[PBFT_UNREADY_BYTES];
};

/* One of n that has just joined `others`, all of which have said that they are as far as it is. */
static void joined(struct asked *a, uint32_t n, uint32_t others)
{
    memset(a, 0, sizeof *a);
    a->params = pbft_params_default(n);
    a->node.core.view_active = true;
    a->node.core.heard = pbft_everyone(others + 1) & ~pbft_signers_of(0);
    a->node.core.executed = a->node.core.others_executed = 5000;
    a->node.core.stable = 4992;
    a->question = (struct pbft_ready_question){&a->node, &a->params, 2, others, false};
}

static void expect(struct asked *a, const char *why)
{
    pbft_unready(&a->question, a->why);
    cr_expect_str_eq(a->why, why);
}

Test(ready, q_replicas_are_enough)
{
    struct asked a;
    for (uint32_t n = 4; n <= PBFT_REPLICAS_MAX; n++) {
        uint32_t q = pbft_quorum(n);
        joined(&a, n, q - 1); /* all others that there are */
        expect(&a, "");
        joined(&a, n, n - 1);
        expect(&a, "");
        joined(&a, n, q - 2);
        pbft_unready(&a.question, a.why);
        cr_expect_not_null(strstr(a.why, " replicas connected, "), "n = %u: '%s'", (unsigned)n,
                           a.why);
    }
    joined(&a, 4, 1);
    expect(&a, "2 of 4 replicas connected, 3 needed");
}

/* Connected is not yet informed: it may be far behind, and cannot know. */
Test(ready, not_before_q_less_one_others_have_spoken)
{
    struct asked a;
    joined(&a, 4, 3);
    a.node.core.heard = 0;
    expect(&a, "0 of 3 other replicas have said what they have, 2 needed");
    a.node.core.heard = pbft_signers_of(3);
    expect(&a, "1 of 3 other replicas have said what they have, 2 needed");
    a.node.core.heard |= pbft_signers_of(1);
    expect(&a, "");
    joined(&a, 7, 4);
    a.node.core.heard &= ~pbft_signers_of(4);
    expect(&a, "3 of 6 other replicas have said what they have, 4 needed");
}

/* A few numbers behind is ordinary; more than a checkpoint interval, a laggard. */
Test(ready, not_while_far_behind)
{
    struct asked a;
    joined(&a, 4, 3);
    uint32_t interval = a.params.checkpoint_interval;
    a.node.core.executed -= interval;
    expect(&a, "");
    a.node.core.others_executed++;
    char why[PBFT_UNREADY_BYTES];
    (void)snprintf(why, sizeof why, "behind: executed %u, the others 5001", 5000u - interval);
    expect(&a, why);
    a.node.core.others_executed = 0; /* a certificate says it, too */
    a.node.core.executed = 0;
    expect(&a, "behind: executed 0, the others 4992");
    a.node.core.executed = 9000; /* they are */
    expect(&a, "");
}

/* What it knows of itself goes before what others say. */
Test(ready, own_trouble_comes_first)
{
    struct asked a;
    joined(&a, 4, 0);
    a.node.core.view_active = false;
    expect(&a, "view change under way");
    a.node.core.transferring = true;
    expect(&a, "state transfer under way");
    a.node.diverged = 128;
    pbft_unready(&a.question, a.why);
    cr_expect_not_null(strstr(a.why, "diverged: "));
    a.node.disk_full = true;
    expect(&a, "the disk is full");
    a.node.core.mute = true;
    expect(&a, "mute: it does not vote; `pbftctl replica replace 2` gives it a new key, unless its "
               "log names another way");
    a.node.storage_failed = true;
    expect(&a, "the vote log has failed");
    a.question.stopping = true;
    expect(&a, "stopping");
}
