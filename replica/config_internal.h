/* Shared by config.c (the reader) and config_files.c (what stands in each file). */
#ifndef PBFT_REPLICA_CONFIG_INTERNAL_H
#define PBFT_REPLICA_CONFIG_INTERNAL_H

#include "replica/config.h"

#define CONFIG_PROBLEM_BYTES 160

/* What a key may hold, and where its value goes. */
enum config_kind {
    CONFIG_U32,      /* uint32_t, or `word` for 0 */
    CONFIG_U64,      /* uint64_t */
    CONFIG_BYTES,    /* uint64_t, with KiB, MiB or GiB if one likes */
    CONFIG_BYTES32,  /* the same in a uint32_t */
    CONFIG_DURATION, /* uint64_t nanoseconds */
    CONFIG_TEXT,     /* char[], `max` bytes with the final 0 */
    CONFIG_PATH,     /* char[PBFT_CONFIG_PATH_MAX], joined with the file's folder */
    CONFIG_TCP,      /* char[PBFT_CONFIG_URL_MAX] */
    CONFIG_HTTP,     /* the same; may be "none" */
    CONFIG_CHOICE,   /* int-sized enum: position in `choices` */
};

struct config_field {
    const char *section;
    const char *name;
    size_t offset; /* in the structure that is filled */
    uint64_t min, max;
    const char *word;           /* CONFIG_U32: stands for 0 */
    const char *const *choices; /* CONFIG_CHOICE: ends with NULL */
    enum config_kind kind;
    bool required;
};

struct config_parse {
    const char *path;
    const struct config_field *fields;
    size_t field_count;
    uint64_t seen; /* bit i: field i */
    int lines[64]; /* where field i was seen */
    void *target;
    /* For what the table does not describe; NULL when there is nothing. `section_known` says
     * whether a section exists. `other` returns false with p->problem filled. */
    bool (*section_known)(const char *section);
    bool (*other)(struct config_parse *p, const char *section, const char *name, const char *value);
    void *context;
    char problem[CONFIG_PROBLEM_BYTES];
    /* The reader's. */
    const char *text;
    size_t size, at;
    int line, bad_line;
};

/* Read the file and fill p->target. */
enum pbft_status config_read(struct config_parse *p, char error[256]);
/* Note what is wrong with the current line; returns false. */
bool config_problem(struct config_parse *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool config_number(const char *text, uint64_t *out); /* decimal digits only, no sign */
/* Store one value as its field demands. */
bool config_store(struct config_parse *p, const struct config_field *field, const char *value);

#endif
