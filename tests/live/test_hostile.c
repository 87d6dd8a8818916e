/* Strangers: garbage and huge lengths on every port, half handshakes held open, a client that
 * genesis does not list. The cluster goes on. */
#include "tests/live/live.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const void *bytes, size_t size)
{
    /* The other side may close at any moment: that is the point. */
    ssize_t ignored = send(fd, bytes, size, MSG_NOSIGNAL);
    (void)ignored;
}

static void abuse(unsigned port, unsigned kind, unsigned seed)
{
    int fd = dial(port);
    cr_assert_geq(fd, 0, "port %u does not answer", port);
    uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3};
    static const uint8_t large[] = {0x00, 0x00, 0x80, 0x00, 1, 2, 3};
    static const uint8_t partial[] = {100, 0, 0, 0, 1, 1};
    switch (kind) {
    case 0: say(fd, bytes, sizeof bytes); break;
    case 1: say(fd, huge, sizeof huge); break;
    case 2: say(fd, large, sizeof large); break;
    case 3: say(fd, partial, sizeof partial); break;
    default: break;
    }
    close(fd);
}

/* Whether the cluster stayed in the first view. */
static bool strangers(void)
{
    struct live l;
    char out[256];
    int held[64];
    live_start(&l, 4, 2, NULL, NULL, NULL);
    double before = live_metric(&l, 0, "process_resident_memory_bytes");
    unsigned count = 0;
    for (unsigned node = 0; node < 4; node++)
        for (unsigned port = 0; port < 3; port++)
            for (unsigned kind = 0; kind < 5; kind++)
                for (unsigned round = 0; round < 5; round++)
                    abuse(l.base_port + 3 * node + port, kind, ++count);
    for (unsigned i = 0; i < 64; i++) /* slow-loris: connected, silent */
        held[i] = dial(l.base_port + 1);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "put", "still", "here", NULL), 0);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "get", "still", NULL), 0);
    cr_expect_str_eq(out, "here\n");
    double after = live_metric(&l, 0, "process_resident_memory_bytes");
    cr_expect_gt(before, 0.0);
    cr_expect_lt(after - before, 64e6, "memory grew by %.0f bytes", after - before);
    for (unsigned i = 0; i < 64; i++)
        if (held[i] >= 0) close(held[i]);
    bool first_view = true;
    for (unsigned node = 0; node < 4; node++)
        first_view &= live_metric(&l, node, "pbft_view ") == 0.0;
    live_stop(&l);
    return first_view;
}

Test(live_hostile, strangers_on_every_port)
{
    for (unsigned i = 0; i < LIVE_TRIES; i++)
        if (strangers()) return;
    cr_expect_fail("strangers make it leave its view, in each of %u runs", LIVE_TRIES);
}

/* A key that genesis does not list is refused, with exit code 4. */
Test(live_hostile, unknown_client)
{
    struct live l, other;
    char out[1024], command[1024];
    live_start(&l, 4, 1, NULL, NULL, NULL);
    live_start(&other, 4, 1, NULL, NULL, NULL);
    /* The other cluster's client key against this cluster's genesis. */
    snprintf(command, sizeof command, "cp '%s/client/key' '%s/client/key'", other.dir, l.dir);
    cr_assert_eq(system(command), 0);
    int status = live_ctl(&l, out, sizeof out, "put", "a", "b", "--timeout", "3s", NULL);
    cr_expect_eq(status, 4, "exit status %d", status);
    live_stop(&other);
    live_stop(&l);
}

/* FAULTS 2.29, PROTOCOL 29: a killed replica that comes back in memory mode is mute, says so, and
 * the cluster goes on without its votes. */
Test(live_hostile, restarted_replica_is_mute)
{
    struct live l;
    char out[256];
    live_start(&l, 4, 2, NULL, NULL, NULL);
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "a", "1", NULL), 0);
    live_kill9(&l, 3);
    live_sleep_ms(300);
    live_restart(&l, 3, "memory");
    live_until(&l, 3, "mute", 1);
    cr_expect_eq(live_ctl(&l, NULL, 0, "put", "a", "2", NULL), 0);
    cr_expect_eq(live_ctl(&l, out, sizeof out, "get", "a", NULL), 0);
    cr_expect_str_eq(out, "2\n");
    live_stop(&l);
}
