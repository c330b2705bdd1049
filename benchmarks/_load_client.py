"""Clients that ask a server without pause, in one process; see serving.py.

    _load_client.py ADDRESS REQUESTS ANSWERS CLIENTS FIRST SECONDS START

Sends the messages of the pickled list REQUESTS as they are, each client over a connection of its
own, and keeps every different answer to each of them in ANSWERS, read later: to parse them here
would take the time of the server, which has the same cores.
"""

import asyncio
import pickle
import sys
import time
from pathlib import Path

import grpc
import grpc.aio

METHOD = "/tensorflow.serving.PredictionService/Predict"


async def main() -> None:
    address, requests_path, answers_path, *numbers = sys.argv[1:]
    clients, first, seconds, start = (float(number) for number in numbers)
    requests = pickle.loads(Path(requests_path).read_bytes())
    answers: list[dict[bytes, int]] = [{} for _ in requests]
    latencies: list[float] = []
    errors: list[str] = []
    cpu: list[float] = []

    async def ask(number: int) -> None:
        options = [
            ("grpc.use_local_subchannel_pool", 1),  # else all would share one connection
            ("grpc.max_receive_message_length", -1),
        ]
        async with grpc.aio.insecure_channel(address, options) as channel:
            await channel.channel_ready()
            await asyncio.sleep(max(0.0, start - time.time()))
            cpu.append(time.process_time())
            method = channel.unary_unary(METHOD)
            end = time.perf_counter() + seconds
            now, index = time.perf_counter(), number * 997
            while now < end:
                index = (index + 1) % len(requests)
                try:
                    answer = await method(requests[index])
                except grpc.RpcError as error:
                    errors.append(f"{error.code().name}: {error.details()}")
                    now = time.perf_counter()
                    continue
                sent, now = now, time.perf_counter()
                latencies.append(now - sent)
                answers[index][answer] = answers[index].get(answer, 0) + 1

    await asyncio.gather(*(ask(int(first) + number) for number in range(int(clients))))
    outcome = (answers, latencies, errors, time.process_time() - cpu[0])
    Path(answers_path).write_bytes(pickle.dumps(outcome))


asyncio.run(main())
