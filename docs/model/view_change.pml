/* View change with restarts: n = 4, f = 1, one sequence number, views 0..VIEWS-1.
 *
 * Checked over the whole bounded state space: no two values are ever decided (FAULTS 3.1), and the
 * two lemmas that carry it (FAULTS 3.2, 3.8). README.md says what is left out, and why it may be.
 * Run it with scripts/model.sh, which also runs every wrong rule (-DWRONG_...) of this file.
 *
 * The network is the set of all messages ever sent: a receiver takes any of them at any time, so
 * loss, delay, reordering and duplication need no states of their own. What the liar's key can sign
 * is in that set from the start; what it cannot sign it must prove from what others have sent.
 *
 * A correct replica is a memory and a disk. A step changes the memory; `sync` copies it to the disk
 * and only then sends what is new (FAULTS 4.4, PROTOCOL 27); a crash puts the disk back.
 */
#ifndef VIEWS
#define VIEWS 3 /* at most 4: then every replica, the liar too, leads once */
#endif
#define N 4

#ifdef WRONG_QUORUM_2F
#define Q_PREPARED 2
#define Q_COMMIT 2
#define Q_NEW_VIEW 2
#endif
#ifdef WRONG_Q_PREPARED
#define Q_PREPARED 2
#endif
#ifdef WRONG_Q_COMMIT
#define Q_COMMIT 2
#endif
#ifdef WRONG_Q_NEW_VIEW
#define Q_NEW_VIEW 2
#endif
#ifdef WRONG_REPEATED_VC /* q VIEW-CHANGEs, but not of distinct senders: one liar's will do */
#define Q_NEW_VIEW 1
#endif
#ifndef Q_PREPARED
#define Q_PREPARED 3 /* PRE-PREPARE and q-1 PREPAREs */
#endif
#ifndef Q_COMMIT
#define Q_COMMIT 3
#endif
#ifndef Q_NEW_VIEW
#define Q_NEW_VIEW 3
#endif

/* ---- values ---- */

#define OPEN 0 /* O ends below the number: its primary may propose what it likes */
#define A 1    /* two client-signed batches; the first one voted for is called A */
#define B 2
#define NUL 3 /* the null batch; only ever from O (FAULTS 4.12) */

#define PRIMARY(v) ((v) % N)

/* ---- memory and disk of a correct replica, 23 bits each ---- */

int mem[N];
int disk[N];
#define VIEW(s) ((s) & 7)
#define ACTIVE(s) (((s) >> 3) & 1)              /* its NEW-VIEW is installed */
#define VOTE(s, v) (((s) >> (4 + 2 * (v))) & 3) /* its PRE-PREPARE or PREPARE in v; 0: none */
#define COMMITS(s, v) (((s) >> (12 + (v))) & 1) /* prepared in v, COMMIT made */
#define CHANGES(s, v) (((s) >> (16 + (v))) & 1) /* VIEW-CHANGE for v made */
#define LEADS(s) (((s) >> 20) & 7)              /* 1 + O of the NEW-VIEW that it made; 0: none */

#define SET_VIEW(s, v, act) (((s) & ~15) | (v) | ((act) << 3))
#define ADD_VOTE(v, d) ((d) << (4 + 2 * (v)))
#define ADD_COMMIT(v) (1 << (12 + (v)))
#define ADD_CHANGE(v) (1 << (16 + (v)))
#define ADD_LEAD(o) (((o) + 1) << 20)
#define VIEW_BITS 15

#define FIRST (1 << 3) /* view 0, active, nothing voted */

byte liar;
#ifdef LOST_LOGS
bool mute[N];     /* its log is lost (PROTOCOL 29) */
byte wait_for[N]; /* WRONG_REJOIN: mute until a NEW-VIEW for this view; 0: not waiting */
#endif
bool seen_a;      /* A and B are symmetric: B only after A */

/* ---- every message ever sent by a correct replica ---- */

short prepares[N];          /* bit PAIR(v,d): its PRE-PREPARE as the primary of v, else PREPARE */
short commits[N];           /* bit PAIR(v,d) */
short changes[N * (VIEWS - 1)]; /* VIEW-CHANGE for v: bit 0: empty P; bit 1+PAIR(w,d): P = (w,d) */
byte new_views[VIEWS];      /* NEW-VIEW for v: bit o */
#define PAIR(v, d) (3 * (v) + (d) - 1)
#define HAS(set, v, d) (((set) >> PAIR(v, d)) & 1)

/* ---- what the messages prove; functions of the sets above, kept to be looked up ---- */

short provable;          /* bit PAIR(v,d): a prepared certificate can be assembled */
byte derivable[VIEWS];   /* bit o: some q VIEW-CHANGEs for v yield this O */
short decided;           /* bit PAIR(v,d): a commit certificate can be assembled */

/* Scratch of one d_step, zero outside. Breadth-first search takes no hidden variables. */
#ifdef SHORTEST
#define SCRATCH
#else
#define SCRATCH hidden
#endif
SCRATCH byte i, v, w, d, count;
SCRATCH short entry, low;
#define CLEAR v = 0; w = 0; d = 0; count = 0; entry = 0; low = 0

#define SIGNED(id, set, v, d) ((id) == liar || HAS(set[id], v, d))

/* Distinct backups that sent PREPARE(v,d), `me` counted apart. */
#ifdef WRONG_PRIMARY_PREPARE /* the primary's PREPARE counts as a backup's (FAULTS 2.8) */
#define BACKUP(id, v) 1
#else
#define BACKUP(id, v) ((id) != PRIMARY(v))
#endif
#ifdef WRONG_MIXED_PREPARES /* a P entry's PREPAREs may be of different views (FAULTS 2.24) */
#define OF_VIEW(id, v, d)                                                                          \
    ((id) == liar || HAS(prepares[id], 0, d) || HAS(prepares[id], 1, d) || HAS(prepares[id], 2, d) || \
     HAS(prepares[id], 3, d))
#else
#define OF_VIEW(id, v, d) SIGNED(id, prepares, v, d)
#endif
#define ONE_PREPARE(id, me, v, d) ((id) != (me) && BACKUP(id, v) && OF_VIEW(id, v, d))
#define PREPARES(me, v, d)                                                                         \
    (ONE_PREPARE(0, me, v, d) + ONE_PREPARE(1, me, v, d) + ONE_PREPARE(2, me, v, d) +              \
     ONE_PREPARE(3, me, v, d))
#define NOBODY 9
#define PREPARED_CERTIFICATE(v, d)                                                                 \
    (SIGNED(PRIMARY(v), prepares, v, d) && PREPARES(NOBODY, v, d) >= Q_PREPARED - 1)

#define CHANGE_OF(id, v) changes[(id) * (VIEWS - 1) + (v) - 1]

/* Can a NEW-VIEW for v name a VIEW-CHANGE of `id` with an entry out of `set`? A liar's may carry
 * whatever can be proved, or nothing. */
#ifdef WRONG_BARE_CLAIMS /* P entries need no certificates (FAULTS 4.7) */
#define LIAR_CLAIMS 1023
#else
#define LIAR_CLAIMS (1 | (provable << 1))
#endif
#ifdef WRONG_OLD_VC /* VIEW-CHANGEs for lower views serve as well (FAULTS 4.11) */
#define CORRECT_CLAIMS(id, v)                                                                      \
    (CHANGE_OF(id, v) | ((v) > 1 -> CHANGE_OF(id, (v) - 1) : 0) |                                  \
     ((v) > 2 -> CHANGE_OF(id, (v) - 2) : 0))
#else
#define CORRECT_CLAIMS(id, v) CHANGE_OF(id, v)
#endif
#define CLAIMS(id, v) ((id) == liar -> LIAR_CLAIMS : CORRECT_CLAIMS(id, v))
#define NAMES(id, v, set) ((CLAIMS(id, v) & (set)) != 0)
#define NAMED(v, set) (NAMES(0, v, set) + NAMES(1, v, set) + NAMES(2, v, set) + NAMES(3, v, set))

/* `low`: the entries that do not stand in the way of (w,d): the highest view wins. */
#ifdef WRONG_MIN_WINS
#define YIELDS(w) (1 | (1023 & ~((1 << (1 + 3 * (w))) - 1)))
#else
#define YIELDS(w) ((1 << (4 + 3 * (w))) - 1)
#endif

#ifdef WRONG_WEAK_CLAIMS /* an entry counts only when f+1 VIEW-CHANGEs name it */
#define CLAIMED(v, set) (NAMED(v, set) >= 2)
#define NOTHING_CLAIMED(v) (NAMED(v, 1023) >= Q_NEW_VIEW && NAMED(v, 1) >= Q_NEW_VIEW - 1)
#else
#define CLAIMED(v, set) (NAMED(v, set) >= 1)
#define NOTHING_CLAIMED(v) (NAMED(v, 1) >= Q_NEW_VIEW)
#endif

/* Which O can some q VIEW-CHANGEs for each view yield (PROTOCOL 19, FAULTS 4.6-4.8)? (w,d) wins when
 * one of the q carries it and none of the others is bound to a higher view. When none carries an
 * entry, O ends below this number, or a higher one is prepared and it is filled with null. */
inline derive()
{
    provable = 0;
    v = 0;
    do
    :: v < VIEWS ->
        d = A;
        do
        :: d <= NUL ->
            if
            :: PREPARED_CERTIFICATE(v, d) -> provable = provable | (1 << PAIR(v, d))
            :: else
            fi;
            d++
        :: else -> break
        od;
        v++
    :: else -> break
    od;
    v = 1;
    do
    :: v < VIEWS ->
        derivable[v] = 0;
        if
        :: NOTHING_CLAIMED(v) -> derivable[v] = (1 << OPEN) | (1 << NUL)
        :: else
        fi;
        w = 0;
        do
        :: w < v ->
            low = YIELDS(w);
            d = A;
            do
            :: d <= NUL ->
                entry = 1 << (1 + PAIR(w, d));
                if
                :: CLAIMED(v, entry) && NAMED(v, low) >= Q_NEW_VIEW ->
                    derivable[v] = derivable[v] | (1 << d)
                :: else
                fi;
                d++
            :: else -> break
            od;
            w++
        :: else -> break
        od;
        v++
    :: else -> break
    od
}

#define ONE_COMMIT(id, v, d) SIGNED(id, commits, v, d)
#ifdef WRONG_MIXED_COMMITS /* COMMITs of different views make one certificate (FAULTS 2.24) */
#define IN_ANY(id, d)                                                                              \
    ((id) == liar || HAS(commits[id], 0, d) || HAS(commits[id], 1, d) || HAS(commits[id], 2, d) || \
     HAS(commits[id], 3, d))
#define COMMIT_COUNT(v, d) (IN_ANY(0, d) + IN_ANY(1, d) + IN_ANY(2, d) + IN_ANY(3, d))
#else
#define COMMIT_COUNT(v, d)                                                                         \
    (ONE_COMMIT(0, v, d) + ONE_COMMIT(1, v, d) + ONE_COMMIT(2, v, d) + ONE_COMMIT(3, v, d))
#endif

/* q COMMITs decide in whatever view their reader is (PROTOCOL 15), so who reads them when does not
 * matter: two certificates that exist are two decisions. */
inline decide()
{
    decided = 0;
    v = 0;
    do
    :: v < VIEWS ->
        d = A;
        do
        :: d <= NUL ->
            if
            :: COMMIT_COUNT(v, d) >= Q_COMMIT -> decided = decided | (1 << PAIR(v, d))
            :: else
            fi;
            d++
        :: else -> break
        od;
        v++
    :: else -> break
    od
}

#define VALUE_MASK(d) ((1 << PAIR(0, d)) | (1 << PAIR(1, d)) | (1 << PAIR(2, d)) | (1 << PAIR(3, d)))
#define VIEW_MASK(v) (7 << (3 * (v)))

inline check()
{
    /* FAULTS 3.1 */
    count = ((decided & VALUE_MASK(A)) != 0) + ((decided & VALUE_MASK(B)) != 0) +
            ((decided & VALUE_MASK(NUL)) != 0);
#if defined REACH_NULL /* wanted: each of these points of the space is met */
    assert((decided & VALUE_MASK(NUL)) == 0)
#elif defined REACH_AGAIN /* decided once more in every view */
    assert(!(HAS(decided, 0, A) && HAS(decided, 1, A) && HAS(decided, 2, A)))
#elif defined REACH_HIDDEN /* prepared in view 0, known to nobody that counts, overruled in view 1 */
    assert(!(HAS(provable, 0, A) && HAS(decided, 1, B)))
#elif defined REACH_THREE /* three values prepared in three views, the last one decided */
    assert(!(HAS(provable, 0, A) && HAS(provable, 1, B) && HAS(decided, 2, NUL)))
#elif defined REACH_TWO_FACED /* a lying primary shows two valid NEW-VIEWs */
    assert(!(liar == 1 && HAS(prepares[0], 1, A) && HAS(prepares[2], 1, NUL)))
#else
    assert(count <= 1);
#ifdef LEMMAS
    v = 0;
    do
    :: v < VIEWS ->
        /* FAULTS 3.8: one prepared value a view, across all incarnations. */
        entry = (provable & VIEW_MASK(v)) >> (3 * v);
        assert((entry & (entry - 1)) == 0);
        /* FAULTS 3.2: nothing else prepares where, or after, something was decided. */
        d = A;
        do
        :: d <= NUL ->
            assert(!HAS(decided, v, d) ||
                   ((provable & ~VALUE_MASK(d)) & ~((1 << (3 * v)) - 1)) == 0);
            d++
        :: else -> break
        od;
        v++
    :: else -> break
    od
#endif
#endif
}

/* ---- sending ---- */

/* P of a VIEW-CHANGE for v: what prepared in the highest view below it (FAULTS 4.6). */
inline find_entry(s, v)
{
    entry = 1;
    w = 0;
    do
    :: w < v ->
        if
#ifdef WRONG_FORGET_P /* entering a view wipes what prepared before it */
        :: COMMITS(s, w) && w == v - 1 -> entry = 2 << PAIR(w, VOTE(s, w))
#else
        :: COMMITS(s, w) -> entry = 2 << PAIR(w, VOTE(s, w))
#endif
        :: else
        fi;
        w++
    :: else -> break
    od
}

/* Everything in state s that was not sent yet. */
inline send(id, s)
{
    v = 0;
    do
    :: v < VIEWS ->
        if
        :: VOTE(s, v) != 0 -> prepares[id] = prepares[id] | (1 << PAIR(v, VOTE(s, v)))
        :: else
        fi;
        if
        :: COMMITS(s, v) -> commits[id] = commits[id] | (1 << PAIR(v, VOTE(s, v)))
        :: else
        fi;
        if
        :: v > 0 && CHANGES(s, v) && !CHANGES(disk[id], v) ->
            find_entry(s, v);
            CHANGE_OF(id, v) = CHANGE_OF(id, v) | entry
        :: else
        fi;
        if
        :: LEADS(s) != 0 && PRIMARY(v) == id ->
            new_views[v] = new_views[v] | (1 << (LEADS(s) - 1))
        :: else
        fi;
        v++
    :: else -> break
    od;
    derive();
    decide();
    check();
    CLEAR
}

/* Something changed in memory. Wrong: it is sent at once, and may be forgotten by a crash. */
#if defined WRONG_SEND_FIRST
#define RECORDED send(me, mem[me])
#elif defined NO_CRASHES /* a record is synced and sent in the same step */
#define RECORDED send(me, mem[me]); disk[me] = mem[me]
#else
#define RECORDED skip
#endif

/* ---- a correct replica ---- */

#define ME mem[me]
#define HERE VIEW(ME)
#ifdef LOST_LOGS
#define LISTENS (!mute[me])
#define REJOINED mute[me] = false; wait_for[me] = 0
#else
#define LISTENS true
#define REJOINED skip
#endif
/* What is not synced yet, nobody else has seen; so nothing is missed by letting one replica at a time
 * have one such record. README.md argues it; these switches lift it. */
#if defined INTERLEAVED
#define MY_TURN 1
#elif defined LONG_TAILS
#define CLEAN(id) ((id) == me || mem[id] == disk[id])
#else
#define CLEAN(id) (mem[id] == disk[id])
#endif
#ifndef INTERLEAVED
#define MY_TURN (CLEAN(0) && CLEAN(1) && CLEAN(2) && CLEAN(3))
#endif
#ifdef WRONG_LATE_VOTES /* COMMITs of the old view after a VIEW-CHANGE (FAULTS 4.18) */
#define MAY_COMMIT(v) (LISTENS && (v) <= HERE)
#else
#define MAY_COMMIT(v) (LISTENS && ACTIVE(ME) && (v) == HERE)
#endif

/* PRE-PREPARE as the primary, PREPARE as a backup; one digest a view. */
#define MAY_VOTE(d)                                                                                \
    (LISTENS && ACTIVE(ME) && VOTE(ME, HERE) == 0 && ((d) == A || seen_a) &&                       \
     (PRIMARY(HERE) == me || SIGNED(PRIMARY(HERE), prepares, HERE, d)))
#define VOTING(d)                                                                                  \
    d_step {                                                                                       \
        MY_TURN && MAY_VOTE(d);                                                                    \
        printf("replica %d: view %d: votes for %d\n", me, HERE, d);                                \
        ME = ME | ADD_VOTE(HERE, d);                                                               \
        seen_a = true;                                                                             \
        RECORDED                                                                                   \
    }

/* Prepared: the certificate goes to the log and the COMMIT out (PROTOCOL 14). */
#define IS_PREPARED(v, d)                                                                          \
    ((d) != 0 && (PRIMARY(v) == me || SIGNED(PRIMARY(v), prepares, v, d)) &&                       \
     PREPARES(me, v, d) + BACKUP(me, v) >= Q_PREPARED - 1)
#define COMMITTING(v)                                                                              \
    d_step {                                                                                       \
        MY_TURN && MAY_COMMIT(v) && !COMMITS(ME, v) && IS_PREPARED(v, VOTE(ME, v));                \
        printf("replica %d: view %d: prepared %d, commits\n", me, v, VOTE(ME, v));                 \
        ME = ME | ADD_COMMIT(v);                                                                   \
        RECORDED                                                                                   \
    }

/* A timer, or f+1 others: any higher view at any time is more than either allows. */
#ifdef WRONG_MUTE_VC /* an amnesiac casts no votes but still sends VIEW-CHANGEs */
#define MAY_CHANGE 1
#else
#define MAY_CHANGE LISTENS
#endif
#define CHANGING(v)                                                                                \
    d_step {                                                                                       \
        MY_TURN && MAY_CHANGE && v < VIEWS && HERE < v;                                            \
        printf("replica %d: leaves view %d for %d\n", me, HERE, v);                                \
        ME = SET_VIEW(ME, v, 0) | ADD_CHANGE(v);                                                   \
        RECORDED                                                                                   \
    }

/* NEW-VIEW as the primary: one, from the VIEW-CHANGEs that it chose. */
#define LEADING(o)                                                                                 \
    d_step {                                                                                       \
        MY_TURN && LISTENS && HERE > 0 && PRIMARY(HERE) == me && !ACTIVE(ME) && LEADS(ME) == 0 &&  \
            ((derivable[HERE] >> (o)) & 1);                                                        \
        printf("replica %d: view %d: NEW-VIEW with O = %d\n", me, HERE, o);                        \
        ME = SET_VIEW(ME, HERE, 1) | ADD_LEAD(o) | ADD_VOTE(HERE, o);                              \
        RECORDED                                                                                   \
    }

/* NEW-VIEW from the primary: for this view or a higher one, O recomputed (FAULTS 4.11). A correct
 * primary made one; a liar has made every one whose check passes, and may show each to somebody. */
#ifdef WRONG_O_UNCHECKED
#define FROM_LIAR(v) 15
#else
#define FROM_LIAR(v) derivable[v]
#endif
#define OFFERED(v, o) ((((PRIMARY(v) == liar) -> FROM_LIAR(v) : new_views[v]) >> (o)) & 1)
#ifdef WRONG_REJOIN
#define MAY_INSTALL(v) (LISTENS || (wait_for[me] != 0 && v >= wait_for[me]))
#else
#define MAY_INSTALL(v) LISTENS
#endif
#define INSTALLING(v, o)                                                                           \
    d_step {                                                                                       \
        MY_TURN && v < VIEWS && PRIMARY(v) != me && (HERE < v || (HERE == v && !ACTIVE(ME))) &&    \
            MAY_INSTALL(v) && OFFERED(v, o);                                                       \
        printf("replica %d: view %d: installs O = %d\n", me, v, o);                                \
        REJOINED;                                                                                  \
        ME = SET_VIEW(ME, v, 1) | ADD_VOTE(v, o);                                                  \
        RECORDED                                                                                   \
    }
#define INSTALLING_ANY(v)                                                                          \
    ::INSTALLING(v, OPEN)::INSTALLING(v, A)::INSTALLING(v, B)::INSTALLING(v, NUL)

#ifdef WRONG_FORGET_VIEW /* VIEW-CHANGE and NEW-VIEW are not in the log, or are cut away (PROTOCOL 26) */
#define REPLAYED(s) (((s) & ~VIEW_BITS) | FIRST)
#else
#define REPLAYED(s) (s)
#endif

proctype replica(byte me)
{
end: /* nothing left to do is fine: liveness is not checked */
    do
    :: VOTING(A)
    :: VOTING(B)
    :: COMMITTING(0)
    :: COMMITTING(1)
    :: COMMITTING(2)
#if VIEWS > 3
    :: COMMITTING(3)
#endif
    :: CHANGING(1)
    :: CHANGING(2)
#if VIEWS > 3
    :: CHANGING(3)
#endif
    :: LEADING(OPEN)
    :: LEADING(A)
    :: LEADING(B)
    :: LEADING(NUL)
    INSTALLING_ANY(1)
    INSTALLING_ANY(2)
#if VIEWS > 3
    INSTALLING_ANY(3)
#endif
    :: d_step { /* synced, then sent */
        mem[me] != disk[me];
        printf("replica %d: syncs and sends\n", me);
        send(me, mem[me]);
        disk[me] = mem[me]
    }
    :: d_step { /* killed; back with what was synced */
        mem[me] != REPLAYED(disk[me]);
        printf("replica %d: crashes and restarts\n", me);
        mem[me] = REPLAYED(disk[me])
    }
#ifdef LOST_LOGS /* killed; its log is gone, its old messages are not (PROTOCOL 29) */
    :: d_step {
        !mute[me];
        printf("replica %d: restarts without its log\n", me);
#ifdef WRONG_AMNESIA
        mute[me] = false;
#else
        mute[me] = true;
#endif
#ifdef WRONG_REJOIN /* it waits for a view above all in which it may have done anything */
        wait_for[me] = VIEW(disk[me]) + 1;
#endif
        mem[me] = FIRST;
        disk[me] = FIRST
    }
#endif
    od
}

#ifdef LIAR /* a part of the space */
#define ONE_OF(id) ((id) == LIAR)
#else
#define ONE_OF(id) true
#endif

init
{
    d_step {
        i = 0;
        do
        :: i < N ->
            mem[i] = FIRST;
            disk[i] = FIRST;
            i++
        :: else -> break
        od;
        i = 0
    }
    atomic {
        if
        :: ONE_OF(0) -> liar = 0
        :: ONE_OF(1) -> liar = 1
        :: ONE_OF(2) -> liar = 2
        :: ONE_OF(3) -> liar = 3
        fi;
        printf("liar is %d; values: 0 open, 1 A, 2 B, 3 null\n", liar);
        d_step { derive(); decide(); CLEAR }
        if :: liar != 0 -> run replica(0) :: else fi;
        if :: liar != 1 -> run replica(1) :: else fi;
        if :: liar != 2 -> run replica(2) :: else fi;
        if :: liar != 3 -> run replica(3) :: else fi
    }
}
