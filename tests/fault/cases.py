"""The cases, by name."""
import case_acceptors
import case_chaos
import case_kills
import case_partitions
import case_pauses
import case_restarts
import case_stale

MODULES = (case_acceptors, case_chaos, case_kills, case_partitions, case_pauses, case_restarts, case_stale)
ALL = {name: function for m in MODULES for name, function in m.CASES.items()}
