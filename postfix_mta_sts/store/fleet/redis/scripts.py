"""What Redis does in one step: the scripts, in Lua, and what they are given and return.

A script gets its keys in KEYS, all of one slot, as a Redis Cluster wants it. Redis runs the scripts
of Lua 5.1, whose numbers are doubles: exact up to 2**53, as orders and microseconds are; those that
are only passed on stay text. TIME is seconds and microseconds, the latter without leading zeros.

What another program has put under a key of ours is replaced, whatever it is.
"""

import hashlib
from typing import Final

from postfix_mta_sts.values import Value


class Script(Value, frozen=True):
    """A script and the name under which a server keeps it."""

    text: str
    digest: str


def _script(text: str) -> Script:
    # Redis names scripts by SHA-1; nothing is protected by it.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


UNREADABLE: Final = b"no record"
"""Stands for what is under the key of a record and is no string: not a record of any fleet."""

_NOW: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
"""

PUT: Final = _script(
    _NOW
    + """
-- KEYS: record. ARGV: new record, its order, its end in ms, how far in the future the order of the
-- record that is there may be, -1: as far as it likes
local function is_hex(text, length)
  return text == '-' or #text == length and not string.find(text, '-', 1, true)
end
local head = redis.pcall('GETRANGE', KEYS[1], 0, 101) -- the header of envelope.py
if type(head) == 'string' then
  local id, digits, signature =
    string.match(head, '^mta%-sts [1-9]%d? ([0-9a-f-]+) (%d+) ([0-9a-f-]+)\\n')
  local plain = id and is_hex(id, 8) and is_hex(signature, 64) and #digits <= 16
    and (digits == '0' or string.sub(digits, 1, 1) ~= '0')
  local order = plain and tonumber(digits)
  local future = tonumber(ARGV[4])
  if order and order < 9007199254740992 and order >= tonumber(ARGV[2])
      and (future < 0 or order <= now + future) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1
"""
)
"""Whether the record was kept."""

DISCARD: Final = _script(
    """
-- KEYS: record. ARGV: the record, as far as it was read; where its last byte may be
if redis.pcall('GETRANGE', KEYS[1], 0, ARGV[2]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
"""
)
"""Whether it was removed."""

CLAIM: Final = _script(
    """
-- KEYS: lease, policy. ARGV: token, ms of a lease, bytes of a policy, what stands for no string
local time = redis.call('TIME')
local holder = redis.pcall('GETRANGE', KEYS[1], 0, 127)
local left = redis.call('PTTL', KEYS[1])
local free = type(holder) ~= 'string' or holder == '' or holder == ARGV[1]
-- Not a lease: one that never ends, or ends later than any.
free = free or left < 0 or left > tonumber(ARGV[2])
if free then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
local policy = redis.pcall('GETRANGE', KEYS[2], 0, ARGV[3])
if type(policy) ~= 'string' then
  policy = ARGV[4]
end
return {time, free and 1 or 0, policy}
"""
)
"""What TIME says, whether the lease is held, and the policy, empty if there is none."""

RENEW: Final = _script(
    """
-- KEYS: lease. ARGV: token, ms of a lease
if redis.pcall('GETRANGE', KEYS[1], 0, 127) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)
"""Whether the lease is held."""

RELEASE: Final = _script(
    """
-- KEYS: lease. ARGV: token
if redis.pcall('GETRANGE', KEYS[1], 0, 127) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
"""
)
"""Whether it was held."""

_SORTED_SET: Final = """
local function sorted_set(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' and kind ~= 'none' then
    redis.call('DEL', key)
  end
end
local function live(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then
    redis.call('PEXPIRE', key, ms)
  end
end
"""

INDEX: Final = _script(
    _SORTED_SET
    + """
-- KEYS: index. ARGV: ms that it lives at least, how many at most, keys
sorted_set(KEYS[1])
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 0, ARGV[i])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], tonumber(ARGV[2]), -1)
live(KEYS[1], ARGV[1])
return 1
"""
)
"""Nothing of interest."""

PAGE: Final = _script(
    _SORTED_SET
    + """
-- KEYS: index. ARGV: after which key, `-` or with `(`; how many at most
sorted_set(KEYS[1])
local found, keys = {}, redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])
for _, key in ipairs(keys) do
  if #key <= 255 and not string.find(key, '[^ -~]') then
    found[#found + 1] = key
  else
    redis.call('ZREM', KEYS[1], key)
  end
end
return {#keys, found}
"""
)
"""How many keys were looked at, and those that a relay can have written, in their order."""

NOTE: Final = _script(
    _SORTED_SET
    + """
-- KEYS: asked, due. ARGV: ms that they live, how many each at most, number of pairs for asked,
-- then pairs of time and domain for asked, and those for due
for i = 1, 2 do
  sorted_set(KEYS[i])
end
local asked = 3 + 2 * tonumber(ARGV[3])
if asked > 3 then
  redis.call('ZADD', KEYS[1], 'GT', unpack(ARGV, 4, asked))
end
if #ARGV > asked then
  redis.call('ZADD', KEYS[2], unpack(ARGV, asked + 1))
end
local most = tonumber(ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -most - 1)
redis.call('ZREMRANGEBYRANK', KEYS[2], most, -1)
for i = 1, 2 do
  live(KEYS[i], ARGV[1])
end
return 1
"""
)
"""Nothing of interest."""

DUE: Final = _script(
    _SORTED_SET
    + _NOW
    + """
-- KEYS: asked, due. ARGV: asked since, how many at most, how many are looked at, how many of the
-- longest overdue are known
for i = 1, 2 do
  sorted_set(KEYS[i])
end
local function is_domain(text)
  if #text > 253 or string.find('.' .. text .. '.', '[^a-z0-9.-]')
      or string.find('.' .. text .. '.', '[.-][.]') or string.find('.' .. text, '[.]%-') then
    return false
  end
  for label in string.gmatch(text, '[^.]+') do
    if #label > 63 then
      return false
    end
  end
  return true
end
local since, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local found, dropped = {}, {}
local domains = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now),
  'LIMIT', ARGV[4], ARGV[3])
local asked = #domains > 0 and redis.call('ZMSCORE', KEYS[1], unpack(domains))
for i, domain in ipairs(domains) do
  if #found == most then
    break
  end
  if not asked[i] or tonumber(asked[i]) < since or not is_domain(domain) then
    dropped[#dropped + 1] = domain
  else
    found[#found + 1] = domain
  end
end
if #dropped > 0 then
  redis.call('ZREM', KEYS[2], unpack(dropped))
end
local unused = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[3])
if #unused > 0 then
  redis.call('ZREM', KEYS[1], unpack(unused))
end
return {#domains, found}
"""
)
"""How many were looked at, and those that are due and in use, the longest overdue first."""
