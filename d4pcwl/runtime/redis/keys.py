"""The keys of a run on a Redis server. The parent makes them, keeps them alive, and removes them.

``runtime/redis/scripts.py`` describes their contents. All of them expire after a minute, so that
nothing remains after a parent was killed. While the parent works, it renews them.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import threading
from collections.abc import Iterable
from typing import Any

from d4pcwl.runtime.engine.plan import Plan
from d4pcwl.runtime.job import Job, Origin
from d4pcwl.runtime.pool.exchange import task_size
from d4pcwl.runtime.pool.ways import described
from d4pcwl.runtime.redis.client import Address, Client, ServerError, ServerLost
from d4pcwl.runtime.redis.exchange import inputs_of, scripts
from d4pcwl.runtime.redis.scripts import GROUP, TTL_SECONDS


class RunKeys:
    """The keys of one run.

    :param run: its id
    """

    def __init__(self, address: Address, run: str, plan: Plan) -> None:
        self.address, self.plan = address, plan
        self.scripts = scripts(run, len(plan.instances) + 1)
        self.prefix = self.scripts.prefix
        self._pool = plan.processes[plan.pool] if plan.pool is not None else ()
        self._sink = len(plan.instances)
        self._order = described(plan, inputs_of(plan))
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="d4pcwl-keeper")

    # --- at the beginning -----------------------------------------------------------------------

    def prepare(self, client: Client, job: Job) -> None:
        """Write what the scripts, and workers on other hosts, must know.

        :raises ServerError: the server refuses it
        """
        hashes: dict[str, dict[Any, Any]] = {
            "meta": self._meta(job),
            **self._lanes(),
            **self._order,
        }
        counted = "bytes told fresh blocked pace sizes blobs ahead levels reached"
        hashes |= {name: {"-": 0} for name in counted.split()}
        for lane in self._pool:
            pace = job.paces.get(self.plan.instances[lane].pe)
            if pace:
                hashes["pace"][lane], hashes["sizes"][lane] = pace, task_size(pace)
        commands: list[tuple[Any, ...]] = []
        for name, fields in hashes.items():
            flat = [part for pair in fields.items() for part in pair]
            if flat:
                commands.append(("HSET", self.prefix + name, *flat))
        streams = [*(f"lane:{lane}" for lane in range(self._sink + 1)), "events"]
        commands += [
            ("XGROUP", "CREATE", self.prefix + name, GROUP, "0", "MKSTREAM") for name in streams
        ]
        commands += [("EXPIRE", self.prefix + name, TTL_SECONDS) for name in self._names()]
        # The state comes last: without it no worker begins.
        commands.append(("SET", self.prefix + "state", "run", "EX", TTL_SECONDS))
        self.scripts.load(client)
        client.calls(commands)

    def _lanes(self) -> dict[str, dict[Any, Any]]:
        """Where each instance runs, which instances write to it, and which must know its end."""
        plan, pool = self.plan, frozenset(self._pool)
        place: dict[int, str] = {}
        writers: dict[int, str] = {}
        left: dict[int, int] = {}
        after: dict[int, list[str]] = {}
        for instance in plan.instances:
            lane = instance.index
            place[lane] = "pool" if lane in pool else str(instance.process)
            writers[lane] = _words(plan.upstream[lane])
            if lane in pool:
                left[lane] = len(plan.upstream[lane])
            for sender in plan.upstream[lane]:
                if lane in pool or plan.instances[sender].process != instance.process:
                    after.setdefault(sender, []).append(str(lane))
        place[self._sink] = "sink"
        ports = {pe for pe, _ in plan.results}
        writers[self._sink] = _words(i.index for i in plan.instances if i.pe in ports)
        told = {sender: " ".join(targets) for sender, targets in after.items()}
        pinned = len(plan.processes) - (plan.pool is not None)
        heavy: dict[Any, int] = {"-": pinned, **dict.fromkeys(plan.heavy, 1)}
        return {"place": place, "writers": writers, "after": told, "left": left, "heavy": heavy}

    def _meta(self, job: Job) -> dict[str, Any]:
        origin = job.origin or Origin("")
        meta = {"script": origin.script, "attr": origin.attr, "digest": job.graph.digest()}
        meta["parameters"] = json.dumps(origin.parameters)
        return {**meta, "instances": self._sink, "plan": pickle.dumps(self.plan)}

    def _names(self) -> list[str]:
        """The keys of the run, without the prefix; not those of single workers."""
        lanes, processes = range(self._sink + 1), range(len(self.plan.processes))
        plain = (
            "state meta place writers after heavy bytes told left fresh waiting full blocked pace "
            "sizes blobs workers remote idle leaving ended events ahead far levels reached ways "
            "through to"
        )
        streams = [
            f"{number}:{origin}"
            for number, way in self._order["ways"].items()
            for origin in json.loads(way)["origins"]
        ]
        return [
            *plain.split(),
            *(f"lane:{lane}" for lane in lanes),
            *(f"again:{lane}" for lane in self._pool),
            *(f"unread:{process}" for process in processes),
            *(f"held:{process}" for process in processes),
            # Written even after its worker has died:
            *(f"wake:p{process}" for process in processes),
            *(f"{kind}:{stream}" for kind in ("behind", "early") for stream in streams),
        ]

    # --- meanwhile, and at the end --------------------------------------------------------------

    def keep(self) -> None:
        """Renew the keys from now on, until :meth:`let_go`."""
        self._keeper.start()

    def let_go(self) -> None:
        """Stop renewing them."""
        self._ended.set()
        if self._keeper.ident is not None:
            self._keeper.join()

    def _keep(self) -> None:
        with contextlib.suppress(ServerLost, ServerError):
            client = Client(self.address)
            try:
                while not self._ended.wait(TTL_SECONDS / 4):
                    workers = client.call("SMEMBERS", self.prefix + "workers")
                    names = [*self._names(), *(f"wake:{name.decode()}" for name in workers)]
                    client.calls([("EXPIRE", self.prefix + name, TTL_SECONDS) for name in names])
            finally:
                client.close()

    def clear_up(self, workers: Iterable[str] = ()) -> None:
        """Remove all keys, with a new connection: after an interrupt, the other one may be in the
        middle of an answer.

        :param workers: workers that the server may not know
        """
        with contextlib.suppress(ServerLost, ServerError):
            client = Client(self.address)
            try:
                names = self._names()
                found = client.call("SMEMBERS", self.prefix + "workers")
                for name in {name.decode() for name in found}.union(workers):
                    names += [f"wake:{name}", f"alive:{name}"]
                client.call("DEL", *(self.prefix + name for name in names))
            finally:
                client.close()


def _words(instances: Iterable[int]) -> str:
    return " ".join(map(str, sorted(instances)))
