"""The face table: the one form in which faces pass from stage to stage."""

from stages.lib.table.mapping import ShardResult, map_shards
from stages.lib.table.reader import Table, TableError
from stages.lib.table.schema import CORE, DEGRADATION, PAIRS, REJECTS, SHOWABLE, TEST, conform
from stages.lib.table.writer import publish, reject_rows, write_parquet

__all__ = [
    "CORE",
    "DEGRADATION",
    "PAIRS",
    "REJECTS",
    "SHOWABLE",
    "TEST",
    "ShardResult",
    "Table",
    "TableError",
    "conform",
    "map_shards",
    "publish",
    "reject_rows",
    "write_parquet",
]
