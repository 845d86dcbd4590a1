"""Snapshots of a run, with which it can be resumed after it was killed.

A snapshot is taken when no item is between two instances. The sources wait until all items are
finished, and then all channels and queues are empty. So a snapshot has only the states of
instances, the positions of sources, and the number of results. This is a simple form of the
snapshots of Chandy and Lamport ("Distributed snapshots", ACM TOCS 3 (1985),
doi:10.1145/214451.214456) and of the aligned barriers of Carbone et al. ("Lightweight asynchronous
snapshots for distributed dataflows", 2015, arXiv:1506.08603). Chandy and Lamport also save the
contents of channels; here they are empty. Only the queues of a pool are saved, because one process
has all of them.

How a mapping takes part:

- It says so (``checkpoints=True`` in its :class:`~d4pcwl.runtime.mappings.registry.Mapping`). It
  then has ``job.checkpoint``, a :class:`~d4pcwl.runtime.checkpoint.session.Session`, or None.
- In the parent, when the plan is made: ``begun = session.begin(plan.results, str(plan))``, a
  :class:`~d4pcwl.runtime.checkpoint.kept.Snapshot`, which is empty if the run is new. If it is
  None, the run was already complete, and there is nothing to do. At this point, earlier results are
  already in the sink; all further ones go through ``job.sink``, which logs them. Results that a
  ``SortedResults`` held back are given to its ``hold``.
- In each worker: ``Worker(…, pauses=Pauses(asked, wait, kept, ended))``, with the saved state of
  that process. ``asked()`` is called after each write of a source, so it must be fast. If it is
  true, the source calls ``wait()``, which lets other instances work until the sources may continue.
  The mapping itself checks it before it feeds a source.
- When the session is ``due``, the parent makes the sources wait. When all channels are empty (each
  mapping finds this out in its own way), the workers answer with ``worker.keep()`` and
  ``worker.ended``, the parent calls ``session.save(…)``, and the sources continue. Items that are
  held back for their order may stay where they are: they are part of the saved state.
"""
