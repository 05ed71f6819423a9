//! What is done within Redis, at once: four scripts.
//!
//! Of each cache there is a hash, `{PREFIX:CACHE}:meta`. It has `run`, which is random, and by `mark:FEED` up to where
//! that feed was applied: 20 digits of the position, a blank, the id. An entry is `{PREFIX:CACHE}:RUN:KEY`, which is a
//! NUL and a ticket, or 0x01 and the value, and always ends by itself. To clear a cache is to give it another run: what
//! it had ends by itself. So do entries where `meta` is evicted; and marks are never there without what they belong to,
//! since whoever has none has to clear.

use redis::Script;

/// For how long `meta` stays after its last entry was put: longer than any entry.
pub(crate) const META_MS: u64 = 8 * 24 * 3600 * 1000;

const GET: &str = r"
local run = redis.call('HGET', KEYS[1], 'run')
if not run then
  run = ARGV[3]
  redis.call('HSET', KEYS[1], 'run', run)
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
local entry = ARGV[1] .. run .. ':' .. ARGV[2]
local found = redis.call('GET', entry)
if not found then
  found = '\0' .. ARGV[4]
  redis.call('SET', entry, found, 'PX', ARGV[5])
end
return {found, redis.call('PTTL', entry), redis.call('HGETALL', KEYS[1])}
";

const FILL: &str = r"
local run = redis.call('HGET', KEYS[1], 'run')
if not run then return 0 end
local entry = ARGV[1] .. run .. ':' .. ARGV[2]
if redis.call('GETRANGE', entry, 0, 16) ~= '\0' .. ARGV[3] then return 0 end
redis.call('SET', entry, '\1' .. ARGV[4], 'PX', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
";

const INVALIDATE: &str = r"
local feed, after, upto = ARGV[2], ARGV[3], ARGV[4]
if feed ~= '' then
  local mark = redis.call('HGET', KEYS[1], feed)
  if not mark then return {2, false} end
  local at = string.sub(mark, 1, 20)
  for _, told in ipairs({after, upto}) do
    local is_known = #mark > 21 and #told > 21
    if is_known and at == string.sub(told, 1, 20) and mark ~= told then return {2, mark} end
  end
  if at >= string.sub(upto, 1, 20) then return {1, false} end
  if at < string.sub(after, 1, 20) then return {2, mark} end
  redis.call('HSET', KEYS[1], feed, upto)
end
local run = redis.call('HGET', KEYS[1], 'run')
for i = 5, run and #ARGV or 0 do redis.call('UNLINK', ARGV[1] .. run .. ':' .. ARGV[i]) end
return {0, false}
";

const CLEAR: &str = r"
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'run', unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
";

/// The scripts; their digests are computed once.
pub(crate) struct Scripts {
    /// Meta; prefix of entries, key, run if there is none, ticket, its milliseconds, those of meta. Answers what the
    /// slot has, its milliseconds, all of meta.
    pub(crate) get: Script,
    /// Meta; prefix of entries, key, ticket, value, its milliseconds, those of meta. Answers whether it is put.
    pub(crate) fill: Script,
    /// Meta; prefix of entries, field of the feed or nothing, two marks, keys. Answers 0 where it is done, 1 where
    /// it was, 2 and the mark where something before is missing.
    pub(crate) invalidate: Script,
    /// Meta; its milliseconds, run, then fields and marks.
    pub(crate) clear: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let [get, fill, invalidate, clear] = [GET, FILL, INVALIDATE, CLEAR].map(Script::new);
        Self { get, fill, invalidate, clear }
    }
}
