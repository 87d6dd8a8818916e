/* pbftd: one replica of the coordination service. */
#include "replica/pbft_replica.h"
#include "service/kv.h"

int main(int argc, char **argv)
{
    return pbft_replica_main(argc, argv, &pbft_kv_service);
}
