/**
 * tests/sim/diagram_internal.h - what is to be drawn (diagram.c decides) and drawing
 * (diagram_svg.c).
 */
#ifndef PBFT_TESTS_SIM_DIAGRAM_INTERNAL_H
#define PBFT_TESTS_SIM_DIAGRAM_INTERNAL_H

#include "tests/sim/diagram.h"

#define DIAGRAM_LANES_MAX    40u
#define DIAGRAM_MESSAGES_MAX 1500u
#define DIAGRAM_NUMBERS_MAX  16u

/* How a message is coloured. X(NAME, "class", "in the legend", "light", "dark") */
#define DIAGRAM_COLOURS(X)                                                                         \
    X(CLIENT, "cl", "client", "#64748b", "#94a3b8")                                                \
    X(PROPOSAL, "pp", "PRE-PREPARE", "#2563eb", "#60a5fa")                                         \
    X(PREPARE, "pr", "PREPARE", "#8b5cf6", "#a78bfa")                                              \
    X(COMMIT, "co", "COMMIT", "#0f9f6e", "#34d399")                                                \
    X(CHECKPOINT, "ck", "CHECKPOINT", "#0891b2", "#22d3ee")                                        \
    X(VIEW_CHANGE, "vc", "VIEW-CHANGE", "#d97706", "#fbbf24")                                      \
    X(NEW_VIEW, "nv", "NEW-VIEW", "#be185d", "#f472b6")                                            \
    X(OTHER, "ot", "other", "#a1a1aa", "#71717a")                                                  \
    X(LIE, "li", "lie", "#dc2626", "#f87171")

enum diagram_colour {
#define X(name, class, text, light, dark) DIAGRAM_##name,
    DIAGRAM_COLOURS(X)
#undef X
        DIAGRAM_COLOUR_COUNT
};

/* "PREPARE 5-7": what a moment sends of one type. */
struct diagram_label {
    uint8_t type;
    enum diagram_colour colour;
    uint64_t numbers[DIAGRAM_NUMBERS_MAX]; /* ascending: sequence numbers, or a view */
    uint32_t count;
    bool more;
};

/* A point of one lane's time, or a line through all lanes. */
struct diagram_moment {
    uint64_t at_ns;
    uint64_t order; /* of the first event that made it */
    uint32_t lane;  /* DIAGRAM_LANES_MAX: all */
    double y;
    double room;                    /* wanted above the next thing on this lane */
    struct diagram_label labels[3]; /* what is sent here, a line each */
    uint32_t label_count;
};

struct diagram_arrow {
    const struct sim_seen *seen;
    size_t sent, arrived; /* moments; equal: lost at once */
    uint32_t to;          /* lane */
    enum diagram_colour colour;
};

struct diagram_mark { /* anything but a message */
    const struct sim_seen *seen;
    size_t moment;
    uint64_t last; /* EXECUTED: more of them here, up to this one */
};

struct diagram_break { /* a pause, drawn as a gap */
    double y;
    uint64_t ns;
    size_t left_out; /* messages */
};

struct diagram_drawing {
    uint32_t n, lanes, client_lanes;
    uint32_t client;  /* of lane 0, if there is one client only */
    bool all_clients; /* several share lane 0 */
    double spacing, width, height, left;
    struct diagram_moment *moments;
    size_t moment_count;
    struct diagram_arrow *arrows;
    size_t arrow_count;
    struct diagram_mark *marks;
    size_t mark_count;
    struct diagram_break *breaks;
    size_t break_count;
    bool byzantine[DIAGRAM_LANES_MAX], dead_first[DIAGRAM_LANES_MAX];
    uint64_t view_first; /* in force where the drawing begins */
    const char *title;
};

#define DIAGRAM_TOP 96.0 /* height of the head */

double diagram_x(const struct diagram_drawing *d, uint32_t lane);
/* 1: the text says that a replica (*id) dies; -1: that it comes back; 0: neither. */
int diagram_death(const char *text, uint32_t *id);
bool diagram_draw(const struct diagram_drawing *d, FILE *file);

#endif
