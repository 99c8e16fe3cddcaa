#ifndef COHERENCE_MUTANT_H
#define COHERENCE_MUTANT_H

/* Known-wrong lines, at least one for every rule, that the simulator must find (DESIGN section 8;
 * docs/rules.md lists which scenario and which mutant belongs to which rule). They exist only in
 * the archive built with COH_MUTANTS=1; in the one that ships MUTANT(x) is the constant 0. Names
 * begin with the rule. */
#define COH_HERMES_MUTANTS(X)                                                                      \
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
    X(H11_MULTI_PLUS_ONE)                                                                          \
    X(H11_ACK_BESIDE_MULTI)                                                                        \
    X(H11_OVERTAKEN_WRITE_DONE)                                                                    \
    X(H11_COMMIT_HALF)                                                                             \
    X(H11_STORE_HALF)                                                                              \
    X(H11_SEND_HALF)                                                                               \
    X(H11_NO_REPLAY)                                                                               \
    X(H11_MULTI_WITHOUT_GRANT)                                                                     \
    X(H11_FLOOR_NOT_TOLD)                                                                          \
    X(H11_READ_HALF)                                                                               \
    X(H11_GRANT_NEVER_GIVEN_UP)                                                                    \
    X(H12_NIL_BY_CLOCK)                                                                            \
    X(H13_UNKNOWN_RETRIED)                                                                         \
    X(H14_OVERTAKE)                                                                                \
    X(H14_MULTI_OVERTAKES)                                                                         \
    X(G3_ANY_GENERATION)                                                                           \
    X(G4_PLAIN_WRITE_TO_HOT)                                                                       \
    X(G6_PROMOTE_ANY_GENERATION)                                                                   \
    X(G7_DEMOTE_ANY_GENERATION)                                                                    \
    X(G13_MULTI_TOUCHES_HOT)

#define COH_GALENE_MUTANTS(X)                                                                      \
    X(G1_READ_FILLS)                                                                               \
    X(G1_JOIN_SENT)                                                                                \
    X(G1_NO_LEASE)                                                                                 \
    X(G1_IGNORE_EXPIRY)                                                                            \
    X(G2_NO_ACKS)                                                                                  \
    X(G2_NO_OWN_TOKEN)                                                                             \
    X(G3_NO_DRAIN)                                                                                 \
    X(G4_NO_ROUND)                                                                                 \
    X(G4_OLD_VIEW)                                                                                 \
    X(G5_NO_TOKEN)                                                                                 \
    X(G5_ANY_EPOCH)                                                                                \
    X(G5_LARGER_IGNORED)                                                                           \
    X(G5_KEEP_OLDER)                                                                               \
    X(G5_DONE_ANY_TOKEN)                                                                           \
    X(G5_DONE_WITHOUT_VALUE)                                                                       \
    X(G6_NO_PREPARED)                                                                              \
    X(G6_FILL_ANY_EPOCH)                                                                           \
    X(G7_NO_DRAINED)                                                                               \
    X(G7_DRAIN_NOT_KEPT)                                                                           \
    X(G8_FORGET_DEPARTED)                                                                          \
    X(G8_UNKNOWN_CLEARS)                                                                           \
    X(G8_LOST_FORGOTTEN)                                                                           \
    X(G8_JOINER_IGNORED)                                                                           \
    X(G9_OLD_CONTROL)                                                                              \
    X(G9_NO_ORDER)                                                                                 \
    X(G9_NEWER_GENERATION)                                                                         \
    X(G9_UNKNOWN_HOT_IGNORED)                                                                      \
    X(G10_KEEP_ACKS)                                                                               \
    X(G10_NO_RESTART)                                                                              \
    X(G11_EARLY_REPLY)                                                                             \
    X(G11_COMBINE_RMW)                                                                             \
    X(G12_KEEP_OLD)                                                                                \
    X(G13_EARLY)                                                                                   \
    X(H14_GALENE_OVERTAKE)

/* Of the membership cores. */
#define COH_MEMBER_MUTANTS(X)                                                                      \
    X(R1_ANY_NONCE)                                                                                \
    X(R2_GRANT_AFTER_VOTE)                                                                         \
    X(R2_GRANT_WHO_IS_OUT)                                                                         \
    X(R3_FROM_ARRIVAL)                                                                             \
    X(R3_MINORITY)                                                                                 \
    X(R3_NO_MARGIN)                                                                                \
    X(R4_NO_WAIT)                                                                                  \
    X(R4_NOT_ON_DISK)                                                                              \
    X(R4_VOTE_BELOW_PROMISE)                                                                       \
    X(R4_FORGET_ACCEPTED)                                                                          \
    X(R4_MINORITY_DECIDES)                                                                         \
    X(R4_RELEASE_KEEPS_LEASE)                                                                      \
    X(R4_BALLOT_TWICE)                                                                             \
    X(R5_VOTE_WITHOUT_MEMORY)                                                                      \
    X(R5_NO_WAIT_AFTER_RESTART)                                                                    \
    X(R5_VOTE_WITHOUT_DISK)                                                                        \
    X(R5_NO_GRANT_WITHOUT_DISK)                                                                    \
    X(V1_OLDER_MAP)                                                                                \
    X(V4_STAYS_WHEN_OUT)                                                                           \
    X(V4_ID_TWICE)                                                                                 \
    X(V5_PROMOTE_EARLY)                                                                            \
    X(L4_LEASE_NEVER_ENDS)                                                                         \
    X(L5_NO_EXCLUSION)                                                                             \
    X(L5_PAIR_KEPT)                                                                                \
    X(L5_LAST_EXCLUDED)                                                                            \
    X(L5_LATE_RENEWAL_COUNTS)                                                                      \
    X(V4_LATE_JOIN_COUNTS)                                                                         \
    X(L8_NO_STALL_GUARD)

#define COH_MUTANT_TABLE(X) COH_HERMES_MUTANTS(X) COH_GALENE_MUTANTS(X) COH_MEMBER_MUTANTS(X)

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
