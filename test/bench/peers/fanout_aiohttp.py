"""A fan-out on aiohttp and uvloop at their best: one session, no limits, no log.

    python fanout_aiohttp.py URL CALLS WARM_UP_SECONDS SECONDS

CALLS events are under way at once, each of 20 URLs, each URL with a deadline. Prints requests, wall-clock seconds and
CPU seconds, as JSON.
"""

import asyncio
import json
import sys
import time

import aiohttp
import uvloop

base, calls, warm_up, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
urls = [f"{base}/0/{i}?order=4711" for i in range(20)]
headers = {
    "accept": "application/json",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
timeout = aiohttp.ClientTimeout(total=10)


async def fetch(session, url):
    try:
        async with session.get(url, timeout=timeout) as response:
            response.raise_for_status()
            return {"url": url, "status": response.status, "data": await response.json()}
    except aiohttp.ClientError as error:
        return {"url": url, "status": "error", "error": str(error)}
    except asyncio.TimeoutError:
        return {"url": url, "status": "timeout", "error": "Request timed out"}


async def client(session, until):
    count = 0
    while time.perf_counter() < until:
        results = await asyncio.gather(*[fetch(session, url) for url in urls])
        if any(result["status"] != 200 for result in results):
            raise SystemExit(f"failed: {results}")
        count += len(results)
    return count


async def run(session, length):
    until = time.perf_counter() + length
    return sum(await asyncio.gather(*[client(session, until) for _ in range(calls)]))


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        await run(session, warm_up)
        start, cpu = time.perf_counter(), time.process_time()
        requests = await run(session, seconds)
        measured = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        print("RESULT " + json.dumps({"requests": requests, **measured}))


uvloop.run(main())
