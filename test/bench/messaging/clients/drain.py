"""Consumers of Python: JSON parsed, each message acknowledged, as their documentation shows.

    python drain.py pika|aio-pika URI QUEUE PREFETCH WARM_UP COUNT

Prints count, wall-clock seconds and CPU seconds of the messages after the warm-up, as JSON.
"""

import asyncio
import json
import sys
import time

client, uri, queue_name = sys.argv[1:4]
prefetch, warm_up, count = (int(text) for text in sys.argv[4:7])


class Meter:
    def __init__(self):
        self.taken = 0
        self.at, self.cpu = time.perf_counter(), time.process_time()

    def take(self, body):
        """True: it was the last one."""
        order = json.loads(body)
        if not isinstance(order["n"], int):
            raise ValueError(body)
        self.taken += 1
        if self.taken == warm_up:
            self.at, self.cpu = time.perf_counter(), time.process_time()
        return self.taken == warm_up + count

    def result(self):
        seconds, cpu = time.perf_counter() - self.at, time.process_time() - self.cpu
        return {"count": count, "seconds": seconds, "cpu": cpu}


def drain_pika():
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(uri))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=prefetch)
    meter = Meter()
    results = []

    def on_message(channel, method, properties, body):
        is_last = meter.take(body)
        channel.basic_ack(method.delivery_tag)
        if is_last:
            results.append(meter.result())
            channel.stop_consuming()

    channel.basic_consume(queue_name, on_message)
    channel.start_consuming()
    connection.close()
    return results[0]


async def drain_aio_pika():
    import aio_pika

    connection = await aio_pika.connect(uri)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=prefetch)
    queue = await channel.get_queue(queue_name)
    meter = Meter()
    ended = asyncio.get_running_loop().create_future()

    async def on_message(message):
        try:
            is_last = meter.take(message.body)
            await message.ack()
            if is_last:
                ended.set_result(meter.result())
        except Exception as error:
            ended.set_exception(error)

    await queue.consume(on_message)
    result = await ended
    await connection.close()
    return result


if client == "pika":
    found = drain_pika()
else:
    import uvloop

    found = uvloop.run(drain_aio_pika())
print("RESULT " + json.dumps({**found, "processCpu": time.process_time()}), flush=True)
