/* A replicated counter, complete. Operations and results are text: "incr", "add N", "get".
 *
 *   pbftctl init d --nodes 4 --service counter
 *   pbftctl up d --pbftd build/examples/counter
 *   pbftctl --cluster d call "add 41"; pbftctl --cluster d call incr */
#include "replica/pbft_replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct pbft_span key = {(const uint8_t *)"counter", 7};

static void execute(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                    struct pbft_span op, struct pbft_result *result)
{
    char text[32] = "", count[32] = "0"; /* kept as text: equal bytes on every machine */
    struct pbft_span stored;
    uint64_t value = 0, add = 0;
    (void)context, (void)call;
    if (op.size < sizeof text) memcpy(text, op.data, op.size);
    if (pbft_txn_get(txn, key, &stored)) memcpy(count, stored.data, stored.size);
    (void)sscanf(count, "%" SCNu64, &value);
    if (strcmp(text, "incr") == 0) {
        add = 1;
    } else if (sscanf(text, "add %" SCNu64, &add) != 1 && strcmp(text, "get") != 0) {
        pbft_result_write(result, "error: incr, add N or get", 25);
        return;
    }
    size_t size = (size_t)snprintf(count, sizeof count, "%" PRIu64, value + add);
    pbft_result_write(result, count, size);
    if (add > 0) pbft_txn_put(txn, key, (struct pbft_span){(const uint8_t *)count, size});
}

int main(int argc, char **argv)
{
    static const struct pbft_service service = {.name = "counter", .execute = execute};
    return pbft_replica_main(argc, argv, &service);
}
