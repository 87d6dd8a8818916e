/*
 * net/gate.c - what strangers share: unfinished handshakes and hellos, by address.
 *
 * When the slots are full the oldest handshake gives way, so whoever opens connections and says
 * nothing only loses his own. Connections from the addresses of replicas have slots of their own:
 * strangers elsewhere cannot touch them (PROTOCOL 4).
 */
#include "net/net_internal.h"

#include <arpa/inet.h>
#include <string.h>

static void map_ipv4(uint32_t network_order, struct address *out)
{
    memset(out->bytes, 0, 10);
    memset(out->bytes + 10, 0xff, 2);
    memcpy(out->bytes + 12, &network_order, 4);
}

static void map_ipv6(const uint8_t *bytes, struct address *out)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(out->bytes, bytes, ADDRESS_BYTES);
    /* Whoever has one IPv6 address usually has 2^64. */
    if (memcmp(bytes, mapped, sizeof(mapped)) != 0) memset(out->bytes + 8, 0, 8);
}

void gate_address(nng_stream *stream, struct address *out)
{
    nng_sockaddr remote;
    memset(out, 0, sizeof(*out)); /* everything that has no address shares one */
    if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &remote) != 0) return;
    if (remote.s_family == NNG_AF_INET) map_ipv4(remote.s_in.sa_addr, out);
    if (remote.s_family == NNG_AF_INET6) map_ipv6(remote.s_in6.sa_addr, out);
}

bool gate_parse(const char *url, struct address *out)
{
    const char *host = strstr(url, "://");
    if (host == NULL) return false;
    host += 3;
    bool bracket = *host == '[';
    if (bracket) host++;
    const char *end = bracket ? strchr(host, ']') : strrchr(host, ':');
    char text[64];
    if (end == NULL || (size_t)(end - host) >= sizeof(text)) return false;
    memcpy(text, host, (size_t)(end - host));
    text[end - host] = '\0';
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        map_ipv4(v4.s_addr, out);
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6) == 1) {
        map_ipv6(v6.s6_addr, out);
        return true;
    }
    return false;
}

static bool same_address(const struct address *a, const struct address *b)
{
    return memcmp(a->bytes, b->bytes, ADDRESS_BYTES) == 0;
}

bool gate_listed(const struct pbft_net *net, const struct address *address)
{
    for (uint32_t i = 0; i < net->listed_count; i++)
        if (same_address(&net->listed[i], address)) return true;
    return false;
}

/* Rivals for one slot: unfinished, same listener, same class of address. */
static bool rival(const struct connection *c, const struct connection *newcomer)
{
    return c != newcomer && c->listener == newcomer->listener && c->listed == newcomer->listed;
}

/* The oldest rival, of `only` if that is not NULL; and how many there are. Newer connections stand
 * before older ones in the list. */
static uint32_t rivals(struct pbft_net *net, const struct connection *newcomer,
                       const struct address *only, struct connection **oldest)
{
    uint32_t count = 0;
    for (struct connection *c = net->half; c != NULL; c = c->half_next) {
        if (!rival(c, newcomer)) continue;
        if (only != NULL && !same_address(&c->address, only)) continue;
        count++;
        *oldest = c;
    }
    return count;
}

/* The address with most unfinished handshakes loses its oldest. */
static struct connection *greediest(struct pbft_net *net, const struct connection *newcomer)
{
    struct connection *victim = NULL;
    uint32_t most = 0;
    for (struct connection *c = net->half; c != NULL; c = c->half_next) {
        struct connection *oldest = NULL;
        if (!rival(c, newcomer)) continue;
        uint32_t count = rivals(net, newcomer, &c->address, &oldest);
        if (count > most) {
            most = count;
            victim = oldest;
        }
    }
    return victim;
}

void gate_admit(struct pbft_net *net, const struct connection *newcomer)
{
    struct connection *oldest = NULL;
    uint32_t total = rivals(net, newcomer, NULL, &oldest);
    if (total >= net->limits.handshakes_max) {
        oldest = greediest(net, newcomer);
    } else {
        uint32_t mine = rivals(net, newcomer, &newcomer->address, &oldest);
        if (mine < net->limits.handshakes_per_address) return;
    }
    if (oldest == NULL) return;
    net->stats.refused[PBFT_NET_REFUSED_SLOTS]++;
    connection_kill(oldest, pbft_net_refusal_text(PBFT_NET_REFUSED_SLOTS));
}

bool gate_hello(struct pbft_net *net, const struct address *address, uint32_t hellos)
{
    uint64_t now = net_now();
    uint64_t rate = net->limits.hellos_per_second;
    struct bucket *bucket = &net->buckets[0];
    for (uint32_t i = 0; i < BUCKETS; i++) {
        struct bucket *b = &net->buckets[i];
        if (b->last_ns != 0 && same_address(&b->address, address)) {
            bucket = b;
            break;
        }
        if (b->last_ns < bucket->last_ns) bucket = b; /* least recently used, or free */
    }
    if (bucket->last_ns == 0 || !same_address(&bucket->address, address)) {
        bucket->address = *address;
        bucket->tokens_milli = 2000 * rate;
    } else {
        uint64_t elapsed_us = (now - bucket->last_ns) / 1000;
        if (elapsed_us > 2000000) elapsed_us = 2000000;
        bucket->tokens_milli += elapsed_us * rate / 1000;
        if (bucket->tokens_milli > 2000 * rate) bucket->tokens_milli = 2000 * rate;
    }
    bucket->last_ns = now;
    uint64_t cost = 1000 * (uint64_t)hellos;
    if (cost > 2000 * rate - 1000) cost = 2000 * rate - 1000; /* the hello before it counts */
    if (bucket->tokens_milli < cost) return false;
    bucket->tokens_milli -= cost;
    return true;
}
