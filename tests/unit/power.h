/*
 * tests/unit/power.h - what a process leaves on the disk wherever it is cut short: by a kill, and
 * by a loss of power after which of each file and folder there is no more than what was synced.
 *
 * The process is traced: a call that writes, names or syncs in a folder is a step, after which
 * what a start would find is laid out, and looked at. It is one thread, and maps no file to write.
 */
#ifndef TESTS_UNIT_POWER_H
#define TESTS_UNIT_POWER_H

#include <stdbool.h>
#include <sys/types.h>

#define POWER_ENTRIES    16u
#define POWER_NAME_BYTES 48u
#define POWER_PATH_BYTES 512u

struct power_entry {
    char name[POWER_NAME_BYTES];
    ino_t ino;
};

struct power_disk;

struct power_trace {
    const char *folder; /* that is watched */
    const char *found;  /* does not exist; what a start finds is laid out there */
    void (*look)(void *context, const char *dir, const char *when);
    void *context;
    bool *over; /* becomes true: the process has come to its end */
    unsigned steps, states;
    struct power_disk *disk; /* its own */
};

/* Runs it in a process of its own; after each step the start that follows is looked at. What is
 * there before it is on the disk. */
void power_watch(struct power_trace *t, void (*run)(void *context));

/* In that process, a step that does nothing: what was promised by now is there if the power goes.
 */
void power_moment(void);

/* What is in a folder, POWER_ENTRIES at most. */
unsigned power_list(const char *dir, struct power_entry entries[POWER_ENTRIES]);

void power_remove_all(const char *dir);

#endif
