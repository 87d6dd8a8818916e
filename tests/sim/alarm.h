/**
 * tests/sim/alarm.h - the places at which a run is found to be wrong.
 *
 * Every call of sim_fail() and twins_fail() is an alarm. Its file and text stand in section
 * "alarms" of the program, so that scripts/sim-alarms.sh knows them all: the suite must make each
 * of them ring, and must mind when it does not.
 */
#ifndef PBFT_TESTS_SIM_ALARM_H
#define PBFT_TESTS_SIM_ALARM_H

#include <stdbool.h>

#define ALARM_FORMAT(format, ...) format
/* Define `name`: the alarm of the printf arguments that follow. */
#define ALARM(name, ...)                                                                           \
    static const char name[] __attribute__((section("alarms"), used)) =                            \
        __FILE__ ": " ALARM_FORMAT(__VA_ARGS__, )

/* Told of each alarm that is about to ring; false: it stays silent. NULL: nobody is. */
typedef bool alarm_listener(const char *alarm);
void alarm_listen(alarm_listener *listener);
bool alarm_rings(const char *alarm);

#endif
