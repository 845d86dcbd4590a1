"""The scripts (in Lua) that the Redis server runs as one step, and the keys that they use.

All keys begin with ``d4p:RUN:`` (below: without it).

==============  ================================================================================
``state``       ``run`` or ``stop``; where it is missing the run is over, and nothing is written
``meta``        hash: what a worker from elsewhere has to know
``place``       hash: lane → ``pool``, the number of a process, or ``sink`` (results)
``writers``     hash: lane → the instances that write to it
``after``       hash: instance → the lanes that are to know of its end
``heavy``       hash: lane of heavy items → 1; ``-``: how many processes have pinned instances
``lane:L``      stream: the batches for instance L, or the results; of a pooled instance with a
                consumer group, whose pending entries are the tasks in hand
``again:L``     list: entries of a pooled lane that a dead worker had in hand
``ways``        hash: the ways through the pool to those who put in order, as JSON, by number;
                ``through``, ``to`` hashes: which way leads through an instance, or to a lane
``behind:R:O``  sorted set: by lowest number, the batches of origin O that are still on way R
``early:R:O``   sorted set: those that were delivered although others are still on the way
``ahead``       hash: way → weight of the latter; ``far`` set of ways on which that is too much,
                and ``W:I``: of those for which pinned instance I waits
``levels``      hash: ``I:O`` → how far pinned instance I is; ``reached``: ``R:O`` → how far way R
``blobs``       hash: batches too large to pass through scripts
``bytes``       hash: lane → bytes waiting; ``told`` hash: lane → entries that are no batches
``left``        hash: pooled instance → senders not ended + batches not done
``fresh``       hash: pooled lane → batches that nobody has in hand
``waiting``     sorted set: pooled lanes with such batches
``unread:P``    sorted set: lanes with entries for process P
``full``        set of lanes; ``blocked`` hash: instance → how many full lanes it writes to
``held:P``      set: instances of process P that write to full lanes
``pace``        hash: lane → seconds per item; ``sizes`` hash: lane → items for a task
``workers``     set; ``remote`` set: those from elsewhere; ``alive:W``: such a one's heartbeat
``idle``        sorted set: workers that wait for a task; ``wake:W`` stream: wakes it
``leaving``     set: workers to be let go
``ended``       set of instances; ``events`` stream: for the coordinator
==============  ================================================================================

A *lane* is the queue of an instance, by its index in the plan; the results have the next number.
"""

from __future__ import annotations

import hashlib
from typing import Any

from d4pcwl.runtime.engine.marks import AFTER_ALL
from d4pcwl.runtime.pool.ways import MARK_BYTES, MOST_AHEAD_BYTES
from d4pcwl.runtime.redis.client import Client, ServerError

TTL_SECONDS = 60
"""The keys exist for this long after the parent was killed."""

GROUP = "pool"

_COMMON = """
local P, TTL, GROUP = KEYS[1], @TTL@, '@GROUP@'
local call = redis.call
local state = call('GET', P .. 'state')
if not state then return {'gone'} end

local function keep(key) call('EXPIRE', P .. key, TTL) end

local function number(hash, field) return tonumber(call('HGET', P .. hash, field) or 0) end

local function wake(worker)
  call('XADD', P .. 'wake:' .. worker, 'MAXLEN', 1, '*', 'r', 1)
  keep('wake:' .. worker)
end

local function words(text)
  local found = {}
  for word in string.gmatch(text or '', '%S+') do found[#found + 1] = word end
  return found
end

-- The pooled lane to take a task from: the furthest downstream that may be worked on. Heavy items
-- do not keep from their work the instances that are pinned to a worker, if there are others.
local function next_lane(pinned)
  local light = pinned and call('SCARD', P .. 'workers') > number('heavy', '-')
  local first, some = 0, 8
  repeat
    local lanes = call('ZREVRANGE', P .. 'waiting', first, first + some - 1)
    for _, lane in ipairs(lanes) do
      local allowed = not light or number('heavy', lane) == 0
      if allowed and number('blocked', lane) == 0 then return lane end
    end
    first, some = first + some, 1000
  until #lanes == 0
end

-- Wake one worker if there is something for it; it wakes the next if there is more.
local function wake_next()
  local first = call('ZRANGE', P .. 'idle', 0, 0, 'WITHSCORES')
  if #first == 0 or not next_lane(tonumber(first[2]) == 1) then return end
  call('ZREM', P .. 'idle', first[1])
  wake(first[1])
end

local function more_fresh(lane, count)
  local fresh = call('HINCRBY', P .. 'fresh', lane, count)
  if fresh > 0 then
    call('ZADD', P .. 'waiting', lane, lane)
    keep('waiting')
  else
    call('ZREM', P .. 'waiting', lane)
  end
end

local function is_over(lane, most_batches, most_bytes)
  local batches = call('XLEN', P .. 'lane:' .. lane)
  if batches >= most_batches then batches = batches - number('told', lane) end
  return batches >= most_batches or number('bytes', lane) >= most_bytes
end

-- A writer has to wait for one thing more, or less.
local function block(writer, change)
  local blocked = call('HINCRBY', P .. 'blocked', writer, change)
  local place = call('HGET', P .. 'place', writer)
  if place == 'pool' then return end
  if blocked == 0 then
    call('SREM', P .. 'held:' .. place, writer)
    wake('p' .. place)
  elseif change > 0 and blocked == 1 then
    call('SADD', P .. 'held:' .. place, writer)
    keep('held:' .. place)
  end
end

-- A way through the pool, read when it is first needed.
local ways = {}
local function way_of(number)
  ways[number] = ways[number] or cjson.decode(call('HGET', P .. 'ways', number))
  return ways[number]
end

local function ways_through(instance) return words(call('HGET', P .. 'through', instance)) end

-- What is done to each way and origin that a batch belongs to.
local function each_way(lane, lows, act)
  for _, way in ipairs(ways_through(lane)) do
    for origin, low in pairs(lows) do
      if way_of(way).origins[origin] then act(way .. ':' .. origin, low) end
    end
  end
end

-- Whether what is missing on a way comes from an entry, or from one that may wait for it.
local function is_awaited(way, entry)
  local last = way_of(way).last[entry]
  for origin, of in pairs(way_of(way).origins) do
    local field = way .. ':' .. origin
    if call('EXISTS', P .. 'early:' .. field) == 1 then
      local reached = number('reached', field)
      local first = call('ZRANGE', P .. 'behind:' .. field, 0, 0, 'WITHSCORES')[2]
      if first and tonumber(first) <= reached and way_of(way).first <= last then return true end
      for _, other in ipairs(of.entries) do
        if tonumber(other) <= last and number('levels', other .. ':' .. origin) <= reached then
          return true
        end
      end
    end
  end
  return false
end

-- Where too much is ahead of others on a way, those who write to it wait (pool/ways.py).
local function look_ahead(way)
  local was_far = call('SISMEMBER', P .. 'far', way) == 1
  local far = number('ahead', way) >= (was_far and @AHEAD@ / 2 or @AHEAD@)
  if not far and not was_far then return end
  call(far and 'SADD' or 'SREM', P .. 'far', way)
  keep('far')
  for _, entry in ipairs(way_of(way).entries) do
    local waits = far and not is_awaited(way, entry)
    local changed = call(waits and 'SADD' or 'SREM', P .. 'far', way .. ':' .. entry)
    if changed == 1 then block(entry, waits and 1 or -1) end
  end
end

-- Tell a lane, behind what waits there, how far those are that send to it.
local function tell(lane, input, levels)
  call('XADD', P .. 'lane:' .. lane, '*', 'l', input, 'd', levels)
  call('HINCRBY', P .. 'told', lane, 1)
  local place = call('HGET', P .. 'place', lane)
  if place ~= 'sink' then
    call('ZADD', P .. 'unread:' .. place, lane, lane)
    keep('unread:' .. place)
    wake('p' .. place)
  end
end

-- How far the ways are that lead through an instance; whom it concerns is told.
local function move_on(instance)
  for _, way in ipairs(ways_through(instance)) do
    local told = {}
    for origin, of in pairs(way_of(way).origins) do
      local field = way .. ':' .. origin
      local first = call('ZRANGE', P .. 'behind:' .. field, 0, 0, 'WITHSCORES')
      local level = first[2] and tonumber(first[2]) or @AFTER@
      for _, entry in ipairs(of.entries) do
        level = math.min(level, number('levels', entry .. ':' .. origin))
      end
      if level > number('reached', field) then
        local text = string.format('%.0f', level)
        call('HSET', P .. 'reached', field, text)
        local key = P .. 'early:' .. field
        for _, one in ipairs(call('ZRANGEBYSCORE', key, '-inf', '(' .. text)) do
          call('HINCRBY', P .. 'ahead', way, -tonumber(string.match(one, '^%d+')))
        end
        call('ZREMRANGEBYSCORE', key, '-inf', '(' .. text)
        for _, sender in ipairs(of.senders) do
          told[#told + 1] = '[' .. sender .. ',' .. origin .. ',' .. text .. ']'
        end
      end
    end
    if #told > 0 then
      tell(way_of(way).lane, way_of(way).input, '[' .. table.concat(told, ',') .. ']')
    end
    look_ahead(way)
  end
end

-- Put a batch into a lane.
local function put(lane, input, items, bytes, form, data, lows)
  local id = call('XADD', P .. 'lane:' .. lane, '*', 'q', input, 'n', items, 'b', bytes, form, data,
                  'o', lows)
  call('HINCRBY', P .. 'bytes', lane, bytes)
  local place = call('HGET', P .. 'place', lane)
  if lows ~= '' then
    if place == 'pool' then
      each_way(lane, cjson.decode(lows), function(field, low)
        call('ZADD', P .. 'behind:' .. field, low, lane .. ':' .. id)
        keep('behind:' .. field)
      end)
    else
      local way = call('HGET', P .. 'to', lane .. ':' .. input)
      for origin, low in pairs(way and cjson.decode(lows) or {}) do
        local field = way .. ':' .. origin
        if way_of(way).origins[origin] and low >= number('reached', field) then
          local weight = bytes + @MARK@ * items
          call('ZADD', P .. 'early:' .. field, low, weight .. ':' .. id)
          keep('early:' .. field)
          call('HINCRBY', P .. 'ahead', way, weight)
          look_ahead(way)
          break
        end
      end
    end
  end
  if place == 'pool' then
    call('HINCRBY', P .. 'left', lane, 1)
    more_fresh(lane, 1)
  elseif place ~= 'sink' then
    call('ZADD', P .. 'unread:' .. place, lane, lane)
    keep('unread:' .. place)
    wake('p' .. place)
  end
  if call('SISMEMBER', P .. 'full', lane) == 0 and is_over(lane, @BATCHES@, @BYTES@) then
    call('SADD', P .. 'full', lane)
    keep('full')
    for _, writer in ipairs(words(call('HGET', P .. 'writers', lane))) do block(writer, 1) end
  end
end

-- Something has left a lane.
local function drained(lane, bytes)
  call('HINCRBY', P .. 'bytes', lane, -bytes)
  if call('SISMEMBER', P .. 'full', lane) == 1
      and not is_over(lane, @BATCHES@ / 2, @BYTES@ / 2) then
    call('SREM', P .. 'full', lane)
    for _, writer in ipairs(words(call('HGET', P .. 'writers', lane))) do block(writer, -1) end
  end
end

local function stop()
  call('SET', P .. 'state', 'stop', 'EX', TTL)
  for _, worker in ipairs(call('SMEMBERS', P .. 'workers')) do wake(worker) end
end

-- An instance has ended; so may have those after it, and with the last one the run.
local function finish(instance)
  local todo = {instance}
  while #todo > 0 do
    local one = table.remove(todo)
    call('SADD', P .. 'ended', one)
    for _, lane in ipairs(words(call('HGET', P .. 'after', one))) do
      local place = call('HGET', P .. 'place', lane)
      if place == 'pool' then
        if call('HINCRBY', P .. 'left', lane, -1) == 0 then todo[#todo + 1] = lane end
      else
        call('XADD', P .. 'lane:' .. lane, '*', 'e', one)
        call('HINCRBY', P .. 'told', lane, 1)
        call('ZADD', P .. 'unread:' .. place, lane, lane)
        keep('unread:' .. place)
        wake('p' .. place)
      end
    end
  end
  keep('ended')
  if call('SCARD', P .. 'ended') == tonumber(call('HGET', P .. 'meta', 'instances')) then
    stop()
    call('XADD', P .. 'events', '*', 'kind', 'over', 'data', '')
  end
end
"""

_STEP = """
local h = cjson.decode(ARGV[1])
local me, committed = h.worker, 1
if state == 'stop' then return {'stop'} end
call('ZREM', P .. 'idle', me)

if h.task then
  local lane, id = h.task.lane, h.task.id
  if call('XACK', P .. 'lane:' .. lane, GROUP, id) == 0 then
    -- Somebody else has done it meanwhile: nothing of this has happened.
    committed = 0
    if #h.blobs > 0 then call('HDEL', P .. 'blobs', unpack(h.blobs)) end
  else
    call('XDEL', P .. 'lane:' .. lane, id)
    if h.task.blob ~= '' then call('HDEL', P .. 'blobs', h.task.blob) end
    if call('LREM', P .. 'again:' .. lane, 0, id) > 0 then more_fresh(lane, -1) end
    local each = h.task.seconds / math.max(1, h.task.items)
    local pace = number('pace', lane)
    if pace > 0 then each = (pace + each) / 2 end
    call('HSET', P .. 'pace', lane, tostring(each))
    local size = math.floor(math.max(1, math.min(1000, @SECONDS@ / math.max(each, 1e-9))))
    if each > @SLOW@ then size = 1 end
    local told = number('sizes', lane)
    if size > 1.5 * told or size < told / 1.5 then
      call('HSET', P .. 'sizes', lane, size)
    end
  end
end

if committed == 1 then
  for place, batch in ipairs(h.batches) do
    put(batch[1], batch[2], batch[3], batch[4], batch[5], ARGV[1 + place], batch[6])
  end
  for _, level in ipairs(h.levels) do
    call('HSET', P .. 'levels', level[1] .. ':' .. level[2], string.format('%.0f', level[3]))
  end
  for _, told in ipairs(h.told) do tell(told[1], told[2], told[3]) end
  local moved = {}
  for _, level in ipairs(h.levels) do moved[level[1]] = true end
  if h.task and h.task.lows ~= '' then
    each_way(h.task.lane, cjson.decode(h.task.lows), function(field)
      call('ZREM', P .. 'behind:' .. field, h.task.lane .. ':' .. h.task.id)
    end)
    moved[h.task.lane] = true
  end
  for instance in pairs(moved) do move_on(instance) end
  for _, instance in ipairs(h.ends) do finish(instance) end
  if h.task then
    if call('HINCRBY', P .. 'left', h.task.lane, -1) == 0 then finish(h.task.lane) end
    drained(h.task.lane, h.task.bytes)
  end
end

local found = {}
local closed = {}
for _, lane in ipairs(h.closed) do closed[lane] = true end
if h.want > 0 and h.process ~= '' then
  for _, lane in ipairs(call('ZRANGE', P .. 'unread:' .. h.process, 0, -1)) do
    local key = P .. 'lane:' .. lane
    if not closed[lane] then
      for _, entry in ipairs(call('XRANGE', key, '-', '+', 'COUNT', @WINDOW@)) do
        local fields = entry[2]
        call('XDEL', key, entry[1])
        found[#found + 1] = {lane, '', fields}
        if fields[1] == 'q' then
          drained(lane, tonumber(fields[6]))
        else
          call('HINCRBY', P .. 'told', lane, -1)
        end
      end
      if call('XLEN', key) == 0 then call('ZREM', P .. 'unread:' .. h.process, lane) end
    end
  end
end

local verdict = 'on'
if state == 'run' and #found == 0 and h.want > 1 then
  if call('SISMEMBER', P .. 'leaving', me) == 1 then
    verdict = 'stop'
    call('SREM', P .. 'workers', me)
  else
    local pinned = h.process ~= ''
    local lane = next_lane(pinned)
    while lane and #found == 0 do
      local key, entries = P .. 'lane:' .. lane, nil
      local id = call('LPOP', P .. 'again:' .. lane)
      if id then
        entries = call('XCLAIM', key, GROUP, me, 0, id)
      else
        local streams = call('XREADGROUP', 'GROUP', GROUP, me, 'COUNT', 1, 'STREAMS', key, '>')
        entries = streams and streams[1][2] or {}
      end
      more_fresh(lane, -1)
      if #entries > 0 then found[1] = {lane, entries[1][1], entries[1][2]} end
      lane = next_lane(pinned)
    end
    if #found == 0 and h.wait then
      call('ZADD', P .. 'idle', h.rank, me)
      keep('idle')
    end
  end
end
wake_next()

-- How many items make a task, of the lanes that this worker writes to next.
local sizes = {}
local function tell_size(lane)
  local size = number('sizes', lane)
  if size > 0 then
    sizes[#sizes + 1] = lane
    sizes[#sizes + 1] = size
  end
end
if not h.task then
  for _, batch in ipairs(h.batches) do tell_size(batch[1]) end
end
if found[1] and found[1][2] ~= '' then
  for _, lane in ipairs(words(call('HGET', P .. 'after', found[1][1]))) do tell_size(lane) end
end
if call('GET', P .. 'state') == 'stop' and #found == 0 then verdict = 'stop' end
local blocked = h.process ~= '' and call('SMEMBERS', P .. 'held:' .. h.process) or {}
return {verdict, committed, blocked, sizes, found}
"""

_TAKEN = """
for place = 1, #ARGV, 3 do
  call('XDEL', P .. 'lane:' .. ARGV[place], ARGV[place + 1])
  local bytes = tonumber(ARGV[place + 2])
  if bytes < 0 then
    call('HINCRBY', P .. 'told', ARGV[place], -1)
  else
    drained(ARGV[place], bytes)
  end
end
wake_next()
return {'on'}
"""

_REASSIGN = """
local worker, most, tasks = ARGV[1], tonumber(ARGV[2]), 0
for place = 3, #ARGV do
  local lane = ARGV[place]
  local key = P .. 'lane:' .. lane
  for _, one in ipairs(call('XPENDING', key, GROUP, '-', '+', 1000, worker)) do
    tasks = tasks + 1
    if one[4] >= most then return {'worn', lane} end
    call('XCLAIM', key, GROUP, '-', 0, one[1], 'JUSTID')
    call('RPUSH', P .. 'again:' .. lane, one[1])
    keep('again:' .. lane)
    more_fresh(lane, 1)
  end
end
for _, set in ipairs({'workers', 'remote', 'leaving'}) do call('SREM', P .. set, worker) end
call('ZREM', P .. 'idle', worker)
call('DEL', P .. 'wake:' .. worker)
wake_next()
return {'on', tasks}
"""

_EVENT = """
call('XADD', P .. 'events', '*', 'kind', ARGV[1], 'data', ARGV[2])
return {'on'}
"""

_ALIVE = """
if ARGV[3] == 'leave' then
  call('SREM', P .. 'remote', ARGV[1])
  call('SREM', P .. 'workers', ARGV[1])
  call('ZREM', P .. 'idle', ARGV[1])
  call('DEL', P .. 'alive:' .. ARGV[1], P .. 'wake:' .. ARGV[1])
  return {'on'}
end
call('SET', P .. 'alive:' .. ARGV[1], 1, 'PX', ARGV[2])
call('SADD', P .. 'workers', ARGV[1])
call('SADD', P .. 'remote', ARGV[1])
keep('workers')
keep('remote')
return {'on'}
"""

_STOP = """
stop()
return {'on'}
"""

_BODIES = {
    "step": _STEP,
    "taken": _TAKEN,
    "reassign": _REASSIGN,
    "event": _EVENT,
    "alive": _ALIVE,
    "stop": _STOP,
}


class Scripts:
    """The scripts, and how to call them.

    :param batches: in a lane; with so many, those who write to it wait
    :param bytes: the same in bytes
    :param window: entries of a private lane that are fetched in one go
    :param seconds: how long a task should take
    :param slow: seconds for an item above which items are handed out singly
    """

    def __init__(
        self, prefix: str, *, batches: int, bytes: int, window: int, seconds: float, slow: float
    ) -> None:
        self.prefix = prefix
        values = {
            "TTL": TTL_SECONDS,
            "GROUP": GROUP,
            "BATCHES": batches,
            "BYTES": bytes,
            "WINDOW": window,
            "SECONDS": seconds,
            "SLOW": slow,
            "AHEAD": MOST_AHEAD_BYTES,
            "MARK": MARK_BYTES,
            "AFTER": AFTER_ALL,
        }
        common = _COMMON
        self._texts: dict[str, str] = {}
        for name, body in _BODIES.items():
            text = common + body
            for key, value in values.items():
                text = text.replace(f"@{key}@", str(value))
            self._texts[name] = text
        self._hashes = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._texts.items()
        }

    def load(self, client: Client) -> None:
        """Make the scripts known to the server."""
        client.calls([("SCRIPT", "LOAD", text) for text in self._texts.values()])

    def command(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """The command that runs a script."""
        return ("EVALSHA", self._hashes[name], 1, self.prefix, *arguments)

    def call(self, client: Client, name: str, *arguments: Any) -> list[Any]:
        """Run a script; its answer begins with ``on``, ``stop`` or ``gone``."""
        return self.calls(client, [], name, *arguments)

    def calls(
        self, client: Client, before: list[tuple[Any, ...]], name: str, *arguments: Any
    ) -> list[Any]:
        """Send commands and then run a script, in one go."""
        try:
            answer: list[Any] = client.calls([*before, self.command(name, *arguments)])[-1]
        except ServerError as error:
            if "NOSCRIPT" not in str(error):
                raise
            self.load(client)  # somebody has emptied the server's cache of scripts
            answer = client.call(*self.command(name, *arguments))
        return answer
