"""The cases, by name."""
import case_partitions
import case_pauses

ALL = {**case_partitions.CASES, **case_pauses.CASES}
