/* PROTOCOL 29: from epoch to epoch on a disk. What has voted in an epoch is never made anew. */
#include "replica/epochs.h"

#include "store/superblock.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID 3u /* its key is the same in all epochs of the chain */

static char dir[] = "/tmp/pbft-test-epochs-XXXXXX";
static struct epoch_chain *chain;

static void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    chain = chain_new(4, 7);
}

static void teardown(void)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
    chain_free(chain);
}

TestSuite(epochs, .init = setup, .fini = teardown, .timeout = 60);

static enum pbft_status begin_as(pbft_epoch epoch, pbft_id id)
{
    char error[256];
    struct pbft_epochs_begin begin = {.dir = dir, .next = &chain->at[epoch], .id = id};
    return pbft_epochs_begin(&begin, NULL, error);
}

/* A replica runs in this epoch, and ends. */
static void start_in(pbft_epoch epoch)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    struct pbft_superblock *superblock;
    struct pbft_superblock_owner owner;
    pbft_epochs_path(dir, epoch, path);
    pbft_config_owner(&chain->at[epoch], ID, &owner);
    cr_assert_eq(pbft_superblock_open(&superblock, path, &owner, NULL), PBFT_STATUS_OK);
    cr_assert_eq(pbft_superblock_mark_start(superblock, false), PBFT_STATUS_OK);
    pbft_superblock_close(superblock);
}

static struct pbft_superblock_info look(pbft_epoch epoch)
{
    char path[PBFT_CONFIG_PATH_MAX + 32];
    struct pbft_superblock_info info;
    pbft_epochs_path(dir, epoch, path);
    cr_assert_eq(pbft_superblock_look(path, &info), PBFT_STATUS_OK);
    return info;
}

static pbft_epoch present(void)
{
    char error[256];
    struct pbft_cluster cluster = chain->at[0];
    cr_assert_eq(pbft_epochs_load(dir, &cluster, error), PBFT_STATUS_OK, "%s", error);
    pbft_epoch epoch = cluster.epoch;
    pbft_epoch_free(&cluster);
    return epoch;
}

static void lose_the_file(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/epochs", dir);
    cr_assert_eq(unlink(path), 0);
}

Test(epochs, one_after_the_other)
{
    cr_assert_eq(present(), 0u);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    cr_assert_eq(present(), 1u);
    cr_assert_eq(look(1).starts, 0u);
    cr_assert_eq(begin_as(3, ID), PBFT_STATUS_OK, "who was away may miss one");
    cr_assert_eq(present(), 3u);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/epoch-1", dir);
    cr_assert_eq(access(path, F_OK), -1, "what is over goes");
}

/* `replica replace` that was interrupted, goes on after the replica has begun by itself: after a
 * power failure that brought the old name of its key back, say. */
Test(epochs, one_that_was_begun_is_not_begun_again)
{
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    start_in(1);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_EXISTS);
    cr_assert_eq(look(1).starts, 1u, "the votes are still there");
    cr_assert_eq(begin_as(2, ID), PBFT_STATUS_OK);
    start_in(2);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_EXISTS, "nor an older one");
    cr_assert_eq(present(), 2u);
    cr_assert_eq(look(2).starts, 1u);
}

/* Without the file nobody knows that this key has voted, but its superblock does. */
Test(epochs, one_that_was_voted_in_and_is_begun_again_is_mute)
{
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    start_in(1);
    lose_the_file();
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    cr_assert_eq(look(1).forgot, 1u);
}

Test(epochs, one_that_never_began_is_begun_again)
{
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    lose_the_file();
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_OK);
    cr_assert_eq(look(1).starts, 0u);
    cr_assert_eq(look(1).forgot, 0u);
}

/* `data` in node.conf names the folder of somebody else. */
Test(epochs, the_data_of_another_are_left_alone)
{
    struct pbft_superblock_owner owner;
    pbft_config_owner(&chain->at[0], 2, &owner);
    cr_assert_eq(pbft_superblock_create(dir, &owner), PBFT_STATUS_OK);
    cr_assert_eq(begin_as(1, ID), PBFT_STATUS_REFUSED);
    cr_assert_eq(look(0).owner.replica, 2u);
    cr_assert_eq(present(), 0u);
}
