"""The gate of a face table: Great Expectations suites, one per table, and their report.

`bounds` and `result` are plain data and cheap to import; `gate` loads Great Expectations (about ten seconds).
"""

import logging

# Great Expectations logs hundreds of lines while it is imported, so its logger is set before.
logging.getLogger("great_expectations").setLevel(logging.WARNING)
