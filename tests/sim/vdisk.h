/**
 * tests/sim/vdisk.h - a disk in memory: the table of store/disk.h with what power loss, a dying
 * process and worn hardware do (FAULTS 2.38 to 2.44). Under the real store, for its unit tests and
 * below each simulated replica.
 *
 * Synced bytes stay; of the others each sector of 512 bytes is kept, lost or garbled, and each
 * unsynced change of the folder kept or lost. What a sector held when it was synced last is put
 * aside when it is written again, so that a sync costs what was written since the last one.
 */
#ifndef PBFT_TESTS_SIM_VDISK_H
#define PBFT_TESTS_SIM_VDISK_H

#include "store/disk.h"

#define VDISK_SECTOR     512u
#define VDISK_NAME_BYTES 32u

enum vdisk_crash {
    VDISK_KILLED, /* the process only: everything stays, and is still not synced */
    VDISK_LOSE,   /* nothing that was not synced is left */
    VDISK_KEEP,   /* everything is */
    VDISK_TEAR,   /* each sector old or new, each change of the folder kept or lost */
    VDISK_GARBLE, /* a sector may hold neither */
    VDISK_CUT,    /* what was written first is there, and not all of it */
    VDISK_CRASHES
};

/* What the platter holds where something else was written since. */
struct vdisk_old {
    size_t sector;
    uint8_t bytes[VDISK_SECTOR];
};

struct vdisk_inode {
    uint8_t *data;  /* as processes see it; NULL: the inode is free */
    uint8_t *flags; /* of each sector */
    size_t size;
    bool synced; /* at least once: before that the platter may not even know its size */
    struct vdisk_old *olds;
    size_t old_count, old_capacity;
    unsigned handles;
};

struct vdisk_name {
    char name[VDISK_NAME_BYTES];
    size_t inode;
};

struct vdisk_folder {
    struct vdisk_name *names;
    size_t count, capacity;
};

/* A change of the folder: `gone` disappears, `name` means inode. Either may be empty. */
struct vdisk_move {
    char gone[VDISK_NAME_BYTES], name[VDISK_NAME_BYTES];
    size_t inode;
};

struct vdisk {
    struct pbft_disk base;
    struct vdisk_inode *inodes;
    size_t inode_count, inode_capacity;
    struct vdisk_folder now, safe;
    struct vdisk_move *moves; /* between the two */
    size_t move_count, move_capacity;

    uint64_t ops;   /* that changed something */
    uint64_t syncs; /* of files */
    uint64_t reads;
    uint64_t stop_at;      /* op after which there is no more power; 0: never */
    uint64_t fail_sync_at; /* this sync fails; 0: none */
    uint64_t misdirect_at; /* the write that is this op lands misdirect_by bytes further on */
    uint64_t misread_at;   /* this read is answered from misdirect_by bytes further on */
    uint64_t misdirect_by;
    uint64_t room; /* bytes of all named files; 0: any */
    bool full;     /* no write succeeds, and half of each is done */
    bool stopped;  /* no power: every operation fails */
};

struct vdisk *vdisk_new(void); /* pbft_disk_free(&disk->base) */
struct vdisk *vdisk_clone(const struct vdisk *disk);

/**
 * The end of one life; the disk is then as the next one finds it, with power again. Files
 * that the old life had open may only be closed.
 *
 * random  what is left to chance follows from it
 */
void vdisk_crash(struct vdisk *disk, enum vdisk_crash how, uint64_t random);

uint64_t vdisk_bytes(const struct vdisk *disk); /* of all named files */
/* By name; NULL: there is no such file. */
struct vdisk_inode *vdisk_file(struct vdisk *disk, const char *name);
/* The file was never there. */
void vdisk_remove(struct vdisk *disk, const char *name);

#endif
