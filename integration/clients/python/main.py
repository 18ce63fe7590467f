"""OpenAI's Python library, as it is, against the gateway that CLIENT_BASE_URL names.

CLIENT_API_KEY is a right key and CLIENT_MODEL a model that simulated servers
serve behind the gateway. Prints one line per check; status 1 if one failed.
"""

import sys

import check_batches  # noqa: F401  registers its checks
import check_files  # noqa: F401
import check_live  # noqa: F401
from checks import run_all

sys.exit(0 if run_all() else 1)
