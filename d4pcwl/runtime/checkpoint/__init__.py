"""Snapshots of a run, with which it can go on after it was killed.

A snapshot is taken when nothing is under way. The sources wait, all items are worked off, and then
no channel and no queue has anything in it. So a snapshot has only what instances keep, how far the
sources are, and how many results there were. This is a simple form of the snapshots of Chandy and
Lamport ("Distributed snapshots", ACM TOCS 3 (1985), doi:10.1145/214451.214456) and of the aligned
barriers of Carbone et al. ("Lightweight asynchronous snapshots for distributed dataflows", 2015,
arXiv:1506.08603). These write down what is under way; here there is nothing. Only the queues of a
pool are written down, because one process has them all.

How a mapping takes part:

- It says so (``checkpoints=True`` in its :class:`~d4pcwl.runtime.mappings.registry.Mapping`). It
  then has ``job.checkpoint``, a :class:`~d4pcwl.runtime.checkpoint.session.Session`, or None.
- In the parent, when the plan is made: ``begun = session.begin(plan.results, str(plan))``, a
  :class:`~d4pcwl.runtime.checkpoint.kept.Snapshot`, which is empty if the run is new. If it is
  None, the run had come to its end, and there is nothing to do. Earlier results have gone to the
  sink by then; all further ones go through ``job.sink``, which logs them. What a ``SortedResults``
  held back is given to its ``hold``.
- In each worker: ``Worker(…, pauses=Pauses(asked, wait, kept, ended))``, with what that process
  kept. ``asked()`` is called after each write of a source, so it must be fast. If it is true, the
  source calls ``wait()``, which lets other instances work until the sources may go on. The mapping
  itself looks before it feeds a source.
- When the session is ``due``, the parent has the sources wait. When nothing is under way (each
  mapping finds that out in its own way), the workers answer with ``worker.keep()`` and
  ``worker.ended``, the parent calls ``session.save(…)``, and the sources go on. Items that are held
  back for their order may stay where they are: they are among what is kept.
"""
