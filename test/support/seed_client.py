"""Runs the seed's async_http_client.py, as it is, on other URLs and with another timeout.

    python seed_client.py TIMEOUT_SECONDS URL...

Prints what fetch_all_urls_concurrently gives, as JSON.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "seed"))
import async_http_client  # noqa: E402

timeout, urls = float(sys.argv[1]), sys.argv[2:]
get = aiohttp.ClientSession.get


def get_sooner(self, url, **options):
    """The seed waits ten seconds for each URL; a test does not."""
    assert options.pop("timeout") == 10
    return get(self, url, timeout=aiohttp.ClientTimeout(total=timeout), **options)


aiohttp.ClientSession.get = get_sooner
logging.disable()
print(json.dumps(asyncio.run(async_http_client.fetch_all_urls_concurrently(urls))))
