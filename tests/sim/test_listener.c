/* Who hears the alarms of this suite (scripts/sim-alarms.sh):
 *
 *   PBFT_SIM_ALARMS=FILE  a line for each that rings: test, tab, alarm
 *   PBFT_SIM_DEAD=ALARM   this one does not
 */
#include "tests/sim/alarm.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_down(const char *path, const char *alarm)
{
    char line[512];
    int size = snprintf(line, sizeof line, "%s/%s\t%s\n", criterion_current_test->category,
                        criterion_current_test->name, alarm);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    /* At once: others write, too. */
    cr_assert(file >= 0 && write(file, line, (size_t)size) == size, "cannot write %s", path);
    close(file);
}

static bool hear(const char *alarm)
{
    const char *dead = getenv("PBFT_SIM_DEAD"), *path = getenv("PBFT_SIM_ALARMS");
    if (dead != NULL && strcmp(dead, alarm) == 0) return false;
    if (path != NULL) write_down(path, alarm);
    return true;
}

__attribute__((constructor)) static void listen_to_all(void)
{
    alarm_listen(hear);
}
