#include "bench/durability.h"

#include "client/pbft.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ASK_NS UINT64_C(1000000000)

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * ASK_NS + (uint64_t)t.tv_nsec;
}

static void take(const struct pbft_answer *answer, char *out, size_t capacity)
{
    json_t *status = json_loadb((const char *)answer->bytes, answer->size, 0, NULL);
    const char *text = json_string_value(json_object_get(status, "durability"));
    if (text != NULL && out[0] != '\0' && strcmp(out, text) != 0) text = "mixed";
    if (text != NULL) (void)snprintf(out, capacity, "%s", text);
    json_decref(status);
}

void durability_ask(const char *dir, char *out, size_t capacity)
{
    char path[512], error[256];
    struct pbft_client *client = NULL;
    struct pbft_client_options options = {.timeout_ns = ASK_NS};
    out[0] = '\0';
    (void)snprintf(path, sizeof path, "%s/client", dir);
    if (pbft_client_open(&client, path, &options, error) == PBFT_STATUS_OK &&
        pbft_client_wait(client, ASK_NS) == PBFT_STATUS_OK) {
        uint32_t n = pbft_client_cluster(client)->params.n;
        for (pbft_id id = 0; id < n; id++) {
            struct pbft_answer answer = {0};
            /* Not connected yet: it says so at once. Silent: it has its second. */
            for (uint64_t until = now_ns() + ASK_NS; now_ns() < until;) {
                pbft_answer_free(&answer);
                if (pbft_client_admin(client, id, PBFT_ADMIN_STATUS, (struct pbft_span){NULL, 0},
                                      ASK_NS, &answer) == PBFT_STATUS_OK) {
                    take(&answer, out, capacity);
                    break;
                }
                nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            }
            pbft_answer_free(&answer);
        }
    }
    if (client != NULL) pbft_client_close(client);
    if (out[0] == '\0') (void)snprintf(out, capacity, "unknown");
}
