#ifndef COHERENCE_MUTANT_H
#define COHERENCE_MUTANT_H

/* Known-wrong lines, at least one for every rule, that the simulator must find (DESIGN section 8;
 * docs/rules.md lists which scenario and which mutant belongs to which rule). They exist only in
 * the archive built with COH_MUTANTS=1; in the one that ships MUTANT(x) is the constant 0. Names
 * begin with the rule. */
#define COH_MUTANT_TABLE(X)                                                                        \
    X(H1_WRITE_PLUS_ONE)                                                                           \
    X(H1_RMW_PLUS_TWO)                                                                             \
    X(H2_ACK_SMALLER_RMW)                                                                          \
    X(H2_DROP_SMALLER_WRITE)                                                                       \
    X(H2_STORE_WITHOUT_BASE)                                                                       \
    X(H3_IGNORE_HELD)                                                                              \
    X(H3_COMMIT_ON_MAJORITY)                                                                       \
    X(H3_APPLY_AT_INV)                                                                             \
    X(H3_VAL_ANY_VERSION)                                                                          \
    X(H4_NO_PROOF)                                                                                 \
    X(H5_RETRY_AT_ONCE)                                                                            \
    X(H6_NO_REPLAY)                                                                                \
    X(H6_REPLAY_RMW_EARLY)                                                                         \
    X(H6_REPLAY_NEW_TS)                                                                            \
    X(H7_KEEP_ACKS)                                                                                \
    X(H7_NO_EPOCH_CHECK)                                                                           \
    X(H7_NO_RESEND)                                                                                \
    X(H8_NO_TOMBSTONE)                                                                             \
    X(H8_NO_FLOOR)                                                                                 \
    X(H8_GENERATION_LOST)                                                                          \
    X(H9_NO_LEASE)                                                                                 \
    X(H9_CACHED_TIME)                                                                              \
    X(H9_LEASE_ANY_EPOCH)                                                                          \
    X(H10_SERVE_EARLY)                                                                             \
    X(H10_OVERWRITE)                                                                               \
    X(H10_NO_PENDING)                                                                              \
    X(H10_NO_FLOOR)                                                                                \
    X(H11_START_IN_LOCKED)                                                                         \
    X(H11_GRANT_SURVIVES_VIEW)                                                                     \
    X(H12_NIL_BY_CLOCK)                                                                            \
    X(H13_UNKNOWN_RETRIED)                                                                         \
    X(H14_OVERTAKE)                                                                                \
    X(G3_ANY_GENERATION)                                                                           \
    X(G4_PLAIN_WRITE_TO_HOT)                                                                       \
    X(G6_PROMOTE_ANY_GENERATION)                                                                   \
    X(G7_DEMOTE_ANY_GENERATION)

enum coh_mutant {
    COH_NO_MUTANT,
#define X(name) COH_##name,
    COH_MUTANT_TABLE(X)
#undef X
        COH_MUTANT_COUNT
};

#ifdef COH_MUTANTS
extern unsigned coh_mutant; /* the one that is on */
#define MUTANT(name) (coh_mutant == (unsigned)COH_##name)
#else
#define MUTANT(name) 0
#endif

#endif
