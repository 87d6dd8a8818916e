/* client/client_files.c - a client's files. */
#include "client/client_files.h"

#include "client/pbft.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum pbft_status pbft_client_files(const char *given, struct pbft_client_files *out,
                                   char error[256])
{
    struct stat info;
    size_t capacity = sizeof out->config;
    int size = snprintf(out->config, capacity, "%s", given);
    if (is_folder(given)) {
        size = snprintf(out->config, capacity, "%s/client.conf", given);
        if (size > 0 && (size_t)size < capacity && stat(out->config, &info) != 0)
            size = snprintf(out->config, capacity, "%s/client/client.conf", given);
    }
    if (size < 0 || (size_t)size >= capacity) {
        (void)snprintf(error, 256, "the path of the client's configuration is too long");
        return PBFT_STATUS_ARGUMENT;
    }
    const char *slash = strrchr(out->config, '/');
    int folder = slash == NULL ? 0 : (int)(slash - out->config) + 1;
    (void)snprintf(out->epochs, sizeof out->epochs, "%.*s" PBFT_CLIENT_EPOCHS, folder, out->config);
    return PBFT_STATUS_OK;
}
