/* Hermes as Halcyon runs it (DESIGN section 4), for spin: 3 replicas, 1 key, STARTS updates (blind writes and read-modify-writes,
 * chosen freely), at most one replica removed from the view, every replica learning the new view at its own time, and a network
 * that loses, duplicates and reorders: messages are sets that only grow, and an ACK counts from the moment it is in its set. Who
 * sent an INV, and to whom an ACK goes, is left out: anybody who may complete an update counts every ACK of his epoch for it. That
 * allows more than the protocol does, so what holds here holds there.
 * The removed replica has no lease any more and may go on in its old epoch or do nothing, which is what a crash looks like.
 *
 * A value is identified by the timestamp of the update that wrote it. Ghost variables: `hi`, the largest timestamp exposed by a
 * completed operation; `done_set` and `seen_set`, the updates that were reported committed, and those that were read; `undone`,
 * the RMWs reported as not executed (they are retried).
 *
 * Checked:
 *   real time    a read returns, and a write exceeds, everything completed before it started
 *   atomic RMW   no update that committed or was read lies between an RMW that took effect and its base
 *   base         every replica runs an RMW on the value it was started from (H2, H4)
 *   verdicts     an RMW reported as not executed never takes effect (H5)
 *
 * FAULT selects one seeded fault; spin must find a violation for each (tests/model/check):
 *   1  ACKs survive the view change (breaks H7)
 *   2  a superseded commit sends VAL (breaks H3)
 *   3  an RMW is stored and acknowledged without its base (breaks H2, H4)
 *   4  a blind write takes the next version, like an RMW (breaks H1)
 *   5  a smaller RMW is acknowledged (breaks H2)
 *
 * Rules are named where they are modelled. Not modelled: leases (a removed replica serves nothing), joins, deletion. */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef STARTS
#define STARTS 3 /* how many updates may be started; at most OPS */
#endif
#ifndef RMWS
#define RMWS STARTS /* how many of them may be RMWs */
#endif
#define OPS 3
#define N 3
#define NONE OPS

#define VALID 0
#define INVALID 1

#define TS(ver, id) ((ver) * 4 + (id))
#define VER(ts) ((ts) / 4)
#define BIT(n) (1 << (n))

/* the table of updates: index in order of start */
byte u_ts[OPS];
byte u_base[OPS];
byte u_owner[OPS];
bit u_rmw[OPS];
byte u_bound[OPS];
byte count;
byte rmws;

/* replicas */
bit ep[N];
byte ts[N];
byte cv[N];   /* timestamp of the committed value */
bit st[N];
byte pend[N]; /* pending update, NONE when Valid */
byte own[N];  /* own operation not answered yet */
bit gave[N];  /* own RMW has seen a larger timestamp */
byte gone;    /* replica that is not in the second view; N: there is only the first view */

/* network: bit sets */
byte inv[2];  /* [epoch]: update */
int ack[2];   /* [epoch]: (update * N + from) * 2 + (held is larger) */
byte val[2];  /* [epoch]: update */
byte nack[2]; /* [epoch]: update */

/* ghosts */
byte hi;
byte done_set;
byte seen_set;
byte undone;

/* scratch of the checks, always 0 between steps */
byte x;
byte y;

#define MEMBER(i, e) ((e) == 0 || (i) != gone)
/* the view was decided after the removed replica's lease had run out */
#define LEASED(i) ((i) != gone)
#define SEND_INV(i, k) inv[ep[i]] = inv[ep[i]] | BIT(k)
#define SENT_INV(e, k) (inv[e] & BIT(k))
#define SEND_ACK(i, k, big) ack[ep[i]] = ack[ep[i]] | BIT(((k) * N + (i)) * 2 + (big))

#define FROM(e, k, from, big) (ack[e] & BIT(((k) * N + (from)) * 2 + (big)))
#if FAULT == 1
#define HAS(i, k, from, big) (FROM(ep[i], k, from, big) || FROM(0, k, from, big))
#else
#define HAS(i, k, from, big) FROM(ep[i], k, from, big)
#endif
/* `from` has acknowledged update k in i's epoch, or need not: holding nothing larger; at all */
#define OK0(i, k, from) (from == i || !MEMBER(from, ep[i]) || HAS(i, k, from, 0))
#define OK1(i, k, from) (OK0(i, k, from) || HAS(i, k, from, 1))
#define CLEAN(i, k) (OK0(i, k, 0) && OK0(i, k, 1) && OK0(i, k, 2))
#define ALL(i, k) (OK1(i, k, 0) && OK1(i, k, 1) && OK1(i, k, 2))

/* An RMW took effect if it was reported committed or its value was read. Nothing committed or read lies between it and its base. */
inline check_between() {
    x = 0;
    do
    :: x < count ->
        if
        :: u_rmw[x] && ((done_set | seen_set) & BIT(x)) ->
            assert(!(undone & BIT(x)));
            y = 0;
            do
            :: y < count ->
                assert(!(y != x && ((done_set | seen_set) & BIT(y)) && u_ts[y] > u_base[x] && u_ts[y] < u_ts[x]));
                y++
            :: else -> break
            od
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0;
    y = 0
}

inline complete(k) {
    assert(u_ts[k] > u_bound[k]);
    done_set = done_set | BIT(k);
    if
    :: u_ts[k] > hi -> hi = u_ts[k]
    :: else
    fi;
    check_between()
}

/* The pending update of replica i is known to have committed: run it. */
inline run_pending(i) {
    assert(!u_rmw[pend[i]] || cv[i] == u_base[pend[i]]);
    cv[i] = u_ts[pend[i]];
    if
    :: own[i] == pend[i] -> complete(own[i]); own[i] = NONE; gave[i] = 0
    :: else
    fi;
    pend[i] = NONE
}

inline start(i, rmw) { /* H1 */
    u_rmw[count] = rmw;
    u_base[count] = ts[i];
    u_owner[count] = i;
    u_bound[count] = hi;
    u_ts[count] = TS(VER(ts[i]) + (rmw || FAULT == 4 -> 1 : 2), i);
    ts[i] = u_ts[count];
    st[i] = INVALID;
    pend[i] = count;
    own[i] = count;
    gave[i] = 0;
    SEND_INV(i, count);
    count++
}

inline receive_inv(j, k) { /* H2, H4 */
    if
    :: u_ts[k] > ts[j] ->
        if
        :: FAULT != 3 && pend[j] != NONE && u_base[k] == u_ts[pend[j]] -> run_pending(j) /* H4 */
        :: else
        fi;
        if
        :: FAULT != 3 && u_rmw[k] && u_base[k] > cv[j] -> cv[j] = u_base[k] /* fetched from a replica that holds the base */
        :: else
        fi;
        if
        :: own[j] != NONE && u_rmw[own[j]] -> gave[j] = 1 /* H5 */
        :: else
        fi;
        ts[j] = u_ts[k];
        pend[j] = k;
        st[j] = INVALID;
        SEND_ACK(j, k, 0)
    :: u_ts[k] == ts[j] -> SEND_ACK(j, k, 0)
    :: u_ts[k] < ts[j] && (!u_rmw[k] || FAULT == 5) -> SEND_ACK(j, k, 1)
    :: u_ts[k] < ts[j] && u_rmw[k] && FAULT != 5 ->
        if
        :: pend[j] != NONE -> SEND_INV(j, pend[j])
        :: else -> nack[ep[j]] = nack[ep[j]] | BIT(k)
        fi
    fi
}

inline commit_clean(i) { /* H3: nobody holds a larger timestamp */
    val[ep[i]] = val[ep[i]] | BIT(pend[i]);
    run_pending(i);
    st[i] = VALID
}

inline commit_superseded(i) { /* H3: reply, run nothing, no VAL; a pending one stays pending */
#if FAULT == 2
    val[ep[i]] = val[ep[i]] | BIT(own[i]);
#endif
    complete(own[i]);
    own[i] = NONE;
    gave[i] = 0
}

inline read(i) {
    assert(cv[i] >= hi);
    hi = cv[i];
    x = 0;
    do
    :: x < count ->
        if
        :: u_ts[x] == cv[i] -> seen_set = seen_set | BIT(x)
        :: else
        fi;
        x++
    :: else -> break
    od;
    x = 0;
    check_between()
}

inline give_up(i) { /* H5: reported as not executed */
    undone = undone | BIT(own[i]);
    assert(!((done_set | seen_set) & BIT(own[i])));
    own[i] = NONE;
    gave[i] = 0
}

inline install(i) { /* H7: learn the view; send the own operation again; ACKs of the old epoch are in another set */
    ep[i] = 1;
    if
    :: own[i] != NONE && !(u_rmw[own[i]] && gave[i]) -> SEND_INV(i, own[i])
    :: else
    fi
}

#define SEEN_OP(i, k) (count > k && u_ts[k] == cv[i] && (seen_set & BIT(k)))
#define SEEN(i) (cv[i] == 0 || SEEN_OP(i, 0) || SEEN_OP(i, 1) || SEEN_OP(i, 2))
#define LIVE_OWN(i) (own[i] != NONE && !(u_rmw[own[i]] && gave[i]))
#define OTHERS(i) (pend[i] != NONE && own[i] != pend[i])
#define MAY_START(i) (count < STARTS && st[i] == VALID && LEASED(i) && own[i] == NONE)

/* A local read is a step only if it exposes something new or is stale. Replays (H6): of a blind write by anybody at any time
 * (the timeout), of an RMW only when its owner left the view. */
#define MAY_REPLAY(i) (OTHERS(i) && (!u_rmw[pend[i]] || !MEMBER(u_owner[pend[i]], ep[i])))
#define NODE(i) \
    :: d_step { MAY_START(i) -> start(i, 0) } \
    :: d_step { MAY_START(i) && rmws < RMWS -> start(i, 1); rmws++ } \
    :: d_step { st[i] == VALID && LEASED(i) && (cv[i] < hi || !SEEN(i)) -> read(i) } \
    :: d_step { LIVE_OWN(i) && pend[i] == own[i] && CLEAN(i, own[i]) -> commit_clean(i) } \
    :: d_step { LIVE_OWN(i) && ALL(i, own[i]) && (pend[i] != own[i] || !CLEAN(i, own[i])) -> commit_superseded(i) } \
    :: d_step { own[i] != NONE && u_rmw[own[i]] && LEASED(i) && st[i] == VALID && ts[i] > u_ts[own[i]] -> give_up(i) } \
    :: d_step { own[i] != NONE && u_rmw[own[i]] && !gave[i] && (nack[ep[i]] & BIT(own[i])) -> gave[i] = 1 } \
    :: d_step { MAY_REPLAY(i) && !SENT_INV(ep[i], pend[i]) -> SEND_INV(i, pend[i]) } \
    :: d_step { MAY_REPLAY(i) && SENT_INV(ep[i], pend[i]) && CLEAN(i, pend[i]) -> commit_clean(i) } \
    :: d_step { gone != N && ep[i] == 0 && i != gone -> install(i) } \
    :: d_step { gone == N -> gone = i }

#define GET_VAL(j, k) \
    :: d_step { k < count && pend[j] == k && (val[ep[j]] & BIT(k)) -> run_pending(j); st[j] = VALID }

/* Receiving the same INV again only matters if it changes something: the guards leave out what would change nothing. */
#define ANSWERED(j, k) \
    ((u_ts[k] == ts[j] && FROM(ep[j], k, j, 0)) || (u_ts[k] < ts[j] && (!u_rmw[k] || FAULT == 5) && FROM(ep[j], k, j, 1)) || \
     (u_ts[k] < ts[j] && u_rmw[k] && FAULT != 5 && ((pend[j] != NONE && SENT_INV(ep[j], pend[j])) || (pend[j] == NONE && (nack[ep[j]] & BIT(k))))))
#define GET_INV(j, k) \
    :: d_step { k < count && u_owner[k] != j && SENT_INV(ep[j], k) && !ANSWERED(j, k) -> receive_inv(j, k) }
#define GETS(j) GET_INV(j, 0) GET_INV(j, 1) GET_INV(j, 2) GET_VAL(j, 0) GET_VAL(j, 1) GET_VAL(j, 2)

init {
    d_step {
        pend[0] = NONE; pend[1] = NONE; pend[2] = NONE;
        own[0] = NONE; own[1] = NONE; own[2] = NONE;
        gone = N
    }
end:
    do
    NODE(0) NODE(1) NODE(2)
    GETS(0) GETS(1) GETS(2)
    od
}
