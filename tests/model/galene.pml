/* Galene as Halcyon runs it (DESIGN section 5), for spin: one key, two proxies and a third that joins, a backend that is an atomic
 * register with the key's hotness and generation, WRITES client writes, GENS promotions (each after the first is a recovery, G8),
 * demotions at any time, one expulsion of proxy 0 or 1, every proxy learning a view at its own time. The lowest proxy of the view
 * that it knows coordinates; an expelled one goes on as a zombie in its old epoch. Everything sent to the backend may arrive late.
 *
 * A value is identified by the number of the write that made it: larger number, larger timestamp (PROMOTE and DEMOTE raise the
 * timestamp too, but leave the value). The register is the specification. What is checked is stronger than "no stale read":
 *   coherent   at every instant, a Valid entry of a proxy that may hold a lease is the register's value
 * Hence a local read takes effect when it is made, a forwarded read and a write when the register executes them. A forwarded read
 * changes nothing (G1), so it is no step here; an expelled proxy has no lease.
 *
 * Messages are not kept one by one: what may still be delivered is read off the sender's state (an INV while its round is open, in
 * every epoch in which it was sent; DONE and FILL for ever: taking them twice changes nothing), and an answer counts from the moment
 * it is given. That allows every delay and reordering, except what FIFO control messages rule out. An entry that is draining is
 * never Valid again in its generation: here it is no entry, with the generation remembered; DROP is no step then.
 *
 * FAULT selects one seeded fault; spin must find a violation for each (tests/model/check):
 *    1  HOTWRITE is sent before all have acknowledged the INV (breaks G2)
 *    2  PROMOTE is sent before all are prepared (breaks G6)
 *    3  DEMOTE is sent before all have drained (breaks G7)
 *    4  the backend executes a plain write of a hot key (breaks G4)
 *    5  an INV is acknowledged without its token (breaks G5)
 *    6  the backend executes a HOTWRITE of another generation (breaks G3)
 *    7  a forwarded read fills the entry (breaks G1)
 *    8  the backend promotes to any generation (breaks G6)
 *    9  the backend demotes in any generation (breaks G7)
 *   10  control messages of an older epoch are acted on (breaks G9)
 *   11  DONE clears its sender's token whichever it is (breaks G5)
 *   12  a hot write does not set its own token (breaks G2)
 *   13  a proxy goes on in a generation in which the outcome of a hot write of its own is unknown (breaks G8)
 * FAULT 90 is none: it claims that the joiner is never Valid with what a hot write made after the expulsion, and must be refuted, or
 * the model would be checking less than it seems to. */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef WRITES
#define WRITES 2 /* client writes */
#endif
#ifndef GENS
#define GENS 2 /* generations; at most 3 */
#endif
#ifndef TRIES
#define TRIES 2 /* hot writes in all: a client write may take several, one in each generation; at most 4 */
#endif
#ifndef EXPELS
#define EXPELS 1
#endif
#ifndef JOINS
#define JOINS (FIRST == 3)
#endif
#ifndef FIRST
#define FIRST 3 /* set of the first members: 7 for three proxies and no joiner */
#endif
#define N 3
#define EPOCHS 3
#define BIT(n) (1 << (n))
#define GEN(e, n) ((e) * 4 + (n)) /* G9: epoch of the proxies' view, counter */
#define HAS(set, n) (((set) >> (n)) & 1)

/* a client write at a proxy */
#define IDLE 0
#define COLD 1   /* sent to the backend as a plain write */
#define TOLD 2   /* refused with -HOT, generation in what[] */
#define HOT 3    /* a hot write, number in what[] */

/* a hot write: below SENT nothing has gone to the backend, results above 0 are the value it made */
#define COLLECTING 0
#define SENT 14
#define REFUSED 15

/* rounds of a coordinator */
#define NOTHING 0
#define PREPARING 1
#define PROMOTED 2
#define DRAINING 3
#define PROMOTING 4 /* sent to the backend */
#define DEMOTING 5

/* membership */
byte epoch = 1;
byte members = FIRST;
byte view[EPOCHS + 1];
byte expelled;
byte joined;

/* proxies: the entry, and the write under way */
byte ep[N];
bit prepared[N];
byte egen[N];  /* largest generation ever prepared */
byte value[N]; /* 0: filling */
byte token[N]; /* set of the hot writes whose invalidation is outstanding */
byte op[N];
byte what[N];
byte lost[N];  /* generation in which the outcome of a hot write is unknown */

/* hot writes, in order of start: a number is the token */
byte owner[4];
byte hgen[4];
byte since[4]; /* epoch of its first INV */
byte acks[4];  /* who acknowledged in the owner's epoch */
byte made[4];
byte done_set;     /* set of those whose DONE was sent */
byte tries;
byte writes;

/* coordinators: 0, and 1 in a view without 0 */
byte round[2];
byte rgen[2];
byte racks[2];
byte rsince[2]; /* epoch in which the round began; of the PROMOTE once sent */
byte gens;
byte fill_value[4]; /* by the generation's counter */
byte fill_epoch[4];

/* the backend */
byte stored = 1;
bit hot;
byte bgen;

#if FAULT == 7
byte fetched[N]; /* value in a forwarded read's answer on its way */
byte fetched_gen[N];
#endif

hidden byte x; /* scratch of a step */

#define MEMBER(i) HAS(members, i)
#define VALID(i) (prepared[i] && value[i] != 0 && token[i] == 0)
#define WRONG(i) (MEMBER(i) && VALID(i) && value[i] != stored)
#define RESULT(k) (made[k] != COLLECTING && made[k] < SENT)

/* no other hot write in a generation in which the outcome of one is unknown: its token would replace the one that has to stay */
#define LOST(i, g) (FAULT != 13 && lost[i] != 0 && lost[i] == (g))

/* the generation is over here */
inline drop(i) {
    prepared[i] = 0;
    value[i] = 0;
    token[i] = 0
}

/* G5: the token of k replaces its owner's earlier one */
inline set_token(i, k) {
    x = 0;
    do
    :: x < tries ->
        if
        :: owner[x] == owner[k] -> token[i] = token[i] & ~BIT(x)
        :: else
        fi;
        x++
    :: else -> break
    od;
    token[i] = token[i] | BIT(k)
}

inline keep(i, v) { /* the largest timestamp wins */
    if
    :: v > value[i] -> value[i] = v
    :: else
    fi
}

inline hot_write(i, g) { /* G2 */
    owner[tries] = i;
    hgen[tries] = g;
    since[tries] = ep[i];
    op[i] = HOT;
    what[i] = tries;
    tries++;
    if
    :: FAULT != 12 && prepared[i] && egen[i] == hgen[what[i]] -> set_token(i, what[i])
    :: else
    fi
}

inline start(i) {
    writes++;
    if
    :: prepared[i] && value[i] != 0 -> hot_write(i, egen[i])
    :: else -> op[i] = COLD
    fi
}

inline receive_inv(j, k) { /* G5 */
    if
    :: prepared[j] && egen[j] == hgen[k] && FAULT != 5 -> set_token(j, k)
    :: prepared[j] && egen[j] < hgen[k] -> drop(j)
    :: else
    fi;
    if
    :: ep[j] == ep[owner[k]] -> acks[k] = acks[k] | BIT(j)
    :: else
    fi
}

inline backend_plain(i) { /* G4 */
    if
    :: hot && FAULT != 4 -> op[i] = TOLD; what[i] = bgen
    :: else -> stored++; op[i] = IDLE
    fi
}

inline backend_hot(k) { /* G3 */
    if
    :: (hot && bgen == hgen[k]) || FAULT == 6 -> stored++; made[k] = stored
    :: else -> made[k] = REFUSED
    fi;
    since[k] = 0;
    acks[k] = 0
}

inline answered(i) { /* the backend's answer to a hot write */
    if
    :: RESULT(what[i]) ->
        if
        :: prepared[i] && egen[i] == hgen[what[i]] -> keep(i, made[what[i]]); token[i] = token[i] & ~BIT(what[i])
        :: else
        fi;
        done_set = done_set | BIT(what[i]);
        op[i] = IDLE
    :: else ->
        if
        :: prepared[i] && egen[i] == hgen[what[i]] -> drop(i)
        :: else
        fi;
        op[i] = (MEMBER(i) -> COLD : IDLE)
    fi;
    what[i] = 0
}

inline receive_done(j, k) { /* G5 */
    keep(j, made[k]);
#if FAULT == 11
    x = 0;
    do
    :: x < tries ->
        if
        :: owner[x] == owner[k] -> token[j] = token[j] & ~BIT(x)
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0
#else
    token[j] = token[j] & ~BIT(k)
#endif
}

inline install(i) { /* G10: a round under way starts again, with an empty ACK set */
    ep[i] = epoch;
    if
    :: op[i] == HOT && made[what[i]] == COLLECTING -> acks[what[i]] = 0
    :: else
    fi
}

inline next_view() {
    epoch++;
    view[epoch] = members
}

inline prepare(c) { /* G6; of a key that is hot: G8 */
    gens++;
    round[c] = PREPARING;
    rgen[c] = GEN(ep[c], gens);
    racks[c] = 0;
    rsince[c] = ep[c]
}

inline drain(c, g) { /* G7 */
    rgen[c] = g;
    round[c] = DRAINING;
    racks[c] = 0;
    rsince[c] = ep[c]
}

inline receive_control(j, c) {
    if
    :: round[c] == PREPARING && rgen[c] > egen[j] ->
        drop(j);
        prepared[j] = 1;
        egen[j] = rgen[c]
    :: round[c] == DRAINING && prepared[j] && egen[j] <= rgen[c] -> drop(j)
    :: else
    fi;
    racks[c] = racks[c] | BIT(j)
}

inline backend_promote(c) { /* G6 */
    if
    :: rgen[c] > bgen || FAULT == 8 ->
        hot = 1;
        bgen = rgen[c];
        fill_value[rgen[c] & 3] = stored;
        fill_epoch[rgen[c] & 3] = rsince[c];
        round[c] = PROMOTED
    :: else -> round[c] = NOTHING; rgen[c] = 0
    fi;
    racks[c] = 0;
    rsince[c] = 0
}

inline backend_demote(c) { /* G7 */
    if
    :: hot && (bgen == rgen[c] || FAULT == 9) -> hot = 0
    :: else
    fi;
    round[c] = NOTHING;
    rgen[c] = 0;
    racks[c] = 0;
    rsince[c] = 0
}

#define ALL(set, i) (((set) & view[ep[i]]) == view[ep[i]])
#define PROXY(i) \
    :: d_step { MEMBER(i) && op[i] == IDLE && writes < WRITES && tries < TRIES && (!LOST(i, egen[i]) || !prepared[i]) -> start(i) } \
    :: d_step { op[i] == COLD -> backend_plain(i) } \
    :: d_step { op[i] == TOLD && MEMBER(i) && tries < TRIES && !LOST(i, what[i]) -> hot_write(i, what[i]) } \
    :: d_step { op[i] == TOLD && !MEMBER(i) -> op[i] = IDLE; what[i] = 0 } \
    :: d_step { op[i] == HOT && made[what[i]] == COLLECTING && (ALL(acks[what[i]] | BIT(i), i) || FAULT == 1) -> made[what[i]] = SENT } \
    :: d_step { op[i] == HOT && (RESULT(what[i]) || made[what[i]] == REFUSED) -> answered(i) } \
    :: d_step { op[i] == HOT && made[what[i]] == SENT -> op[i] = IDLE; lost[i] = hgen[what[i]]; what[i] = 0 } /* G8 */ \
    :: d_step { MEMBER(i) && ep[i] < epoch -> install(i) } \
    :: d_step { prepared[i] && fill_value[egen[i] & 3] > value[i] && fill_epoch[egen[i] & 3] == ep[i] -> value[i] = fill_value[egen[i] & 3] } \
    CONTROLS(i, 0) CONTROLS(i, 1) GETS(i, 0) GETS(i, 1) GETS(i, 2) GETS(i, 3) READ(i)

/* of an older epoch: never; of a newer one: held until that view is learnt */
#define CONTROLS(j, c) \
    :: d_step { (round[c] == PREPARING || round[c] == DRAINING) && !HAS(racks[c], j) && HAS(view[ep[c]], j) && ep[j] >= rsince[c] && \
                (ep[j] <= ep[c] || FAULT == 10) && ep[j] != 0 -> receive_control(j, c) }

#define GETS(j, k) \
    :: d_step { k < tries && made[k] == COLLECTING && owner[k] != j && ep[j] >= since[k] && \
                ((ep[j] == ep[owner[k]] && !HAS(acks[k], j)) || \
                 (ep[j] < ep[owner[k]] && prepared[j] && egen[j] <= hgen[k] && !HAS(token[j], k))) -> receive_inv(j, k) } \
    :: d_step { HAS(done_set, k) && prepared[j] && egen[j] == hgen[k] && (made[k] > value[j] || HAS(token[j], k)) -> receive_done(j, k) }

#if FAULT == 7
#define READ(i) \
    :: d_step { MEMBER(i) && prepared[i] && !VALID(i) && fetched[i] == 0 -> fetched[i] = stored; fetched_gen[i] = bgen } \
    :: d_step { fetched[i] != 0 && prepared[i] && egen[i] == fetched_gen[i] -> value[i] = fetched[i]; token[i] = 0; fetched[i] = 0 }
#else
#define READ(i)
#endif

#define COORDINATES(c) (HAS(view[ep[c]], c) && (c == 0 || !HAS(view[ep[c]], 0)))
#define COORDINATOR(c) \
    :: d_step { COORDINATES(c) && (round[c] == NOTHING || round[c] == PROMOTED) && gens < GENS -> prepare(c) } \
    :: d_step { COORDINATES(c) && round[c] == NOTHING && prepared[c] -> drain(c, egen[c]) /* a new coordinator retires what it finds */ } \
    :: d_step { COORDINATES(c) && round[c] == NOTHING && hot && !prepared[c] -> drain(c, bgen) /* G9: reported by the backend */ } \
    :: d_step { COORDINATES(c) && round[c] == PROMOTED -> drain(c, rgen[c]) } \
    :: d_step { round[c] == PREPARING && (ALL(racks[c], c) || FAULT == 2) -> round[c] = PROMOTING; rsince[c] = ep[c] } \
    :: d_step { round[c] == DRAINING && (ALL(racks[c], c) || FAULT == 3) -> round[c] = DEMOTING } \
    :: d_step { round[c] == PROMOTING -> backend_promote(c) } \
    :: d_step { round[c] == DEMOTING -> backend_demote(c) } \
    :: d_step { expelled < EXPELS && MEMBER(c) && members != BIT(c) && epoch < EPOCHS -> expelled++; members = members & ~BIT(c); next_view() }

#define BACKEND(k) \
    :: d_step { made[k] == SENT -> backend_hot(k) }

init {
    d_step {
        view[1] = FIRST;
        ep[0] = 1;
        ep[1] = 1;
        ep[2] = HAS(FIRST, 2)
    }
end:
    do
    :: d_step { WRONG(0) || WRONG(1) || WRONG(2) -> assert(false) }
#if FAULT == 90
    :: d_step { VALID(2) && value[2] > 1 && expelled == 1 && ep[2] == EPOCHS && done_set != 0 -> assert(false) }
#endif
    PROXY(0) PROXY(1) PROXY(2)
    COORDINATOR(0) COORDINATOR(1)
    BACKEND(0) BACKEND(1) BACKEND(2) BACKEND(3)
    :: d_step { joined < JOINS && epoch < EPOCHS -> joined++; members = members | 4; next_view(); ep[2] = epoch }
    od
}
