//! The names of keys, and what runs on the server: scripts, so that what must not be torn apart is not.
//!
//! | key | what it is |
//! | --- | --- |
//! | `P:t:TABLE` | the table's epoch: any word that no other has. Without it, or with another, nothing is known of the table's rows |
//! | `P:c:LABEL:EPOCH` | likewise the epoch of one context's rows of the table |
//! | `P:i:EPOCH` | the keys of these rows, by when they were last heard of |
//! | `P:r:EPOCH:ROW` | one row's events, the oldest first |
//!
//! `P` is `context.store_prefix` and the version of this form; table, label and row are hashes. To forget is to take
//! an epoch away: what belonged to it ends with its time to live. So it does not matter which of the keys a server
//! short of memory throws away. Redis Cluster, which wants to know all keys beforehand, is not served.

use redis::{Cmd, Value};
use sha2::{Digest, Sha256};

use crate::observe::context::store::{Answer, Ask, History, Place};

/// A list of events this long is made short.
pub(super) const LONG: usize = 32;

/// Finds both epochs; what follows uses `row`, which names a row's key, and `epoch`. A key that another program has made
/// one of another kind holds nothing (`read`).
const EPOCHS: &str = "
local P, label = ARGV[1], ARGV[2]
local function read(...)
  local found = redis.pcall(...)
  if type(found) ~= 'table' or not found.err then return found end
  if not string.find(found.err, 'WRONGTYPE', 1, true) then return redis.call(...) end
end
local of_table = read('GET', KEYS[1])
local place = of_table and P..'c:'..label..':'..of_table
local epoch = place and read('GET', place)
local function row(name) return P..'r:'..epoch..':'..redis.sha1hex(name) end
";

/// ARGV: prefix, label, a new word, time to live, now, rows at most, how long is long; then row and event by turns.
/// Returns the rows whose events have become many.
const PUSH: &str = "
local new, ttl, now, most, many = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
if not of_table then
  of_table = new
  place = P..'c:'..label..':'..of_table
  redis.call('SET', KEYS[1], of_table)
  epoch = redis.call('GET', place)
end
redis.call('PEXPIRE', KEYS[1], ttl)
if not epoch then
  epoch = new
  redis.call('SET', place, epoch)
end
redis.call('PEXPIRE', place, ttl)
local index, long = P..'i:'..epoch, {}
for i = 8, #ARGV, 2 do
  local key = row(ARGV[i])
  local length = redis.call('RPUSH', key, ARGV[i + 1])
  redis.call('PEXPIRE', key, ttl)
  redis.call('ZADD', index, now, ARGV[i])
  if length > many then long[#long + 1] = ARGV[i] end
end
redis.call('PEXPIRE', index, ttl)
local over = redis.call('ZCARD', index) - most
if over > 0 then
  for _, name in ipairs(redis.call('ZRANGE', index, 0, over - 1)) do redis.call('DEL', row(name)) end
  redis.call('ZREMRANGEBYRANK', index, 0, over - 1)
end
return long
";

/// ARGV: prefix, label, how many rows that are not named (-1: none are asked for); then rows. What cannot be read is a
/// history of one event that nobody understands.
const FETCH: &str = "
if not epoch then return {} end
local function events(name) return read('LRANGE', row(name), 0, -1) or {''} end
local named, any, more = {}, {}, 0
for i = 4, #ARGV do named[#named + 1] = events(ARGV[i]) end
local limit = tonumber(ARGV[3])
if limit > 0 then
  local index = P..'i:'..epoch
  local names = read('ZREVRANGE', index, 0, limit - 1) or {}
  more = (read('ZCARD', index) or 0) - #names
  for _, name in ipairs(names) do
    local history = events(name)
    if #history > 0 then
      any[#any + 1] = name
      any[#any + 1] = history
    end
  end
end
return {named, any, more}
";

/// ARGV: prefix, label, row, its first event, how many events, what takes their place.
const SHORTEN: &str = "
if not epoch then return 0 end
local key, count = row(ARGV[3]), tonumber(ARGV[5])
if redis.call('LINDEX', key, 0) ~= ARGV[4] or redis.call('LLEN', key) < count then return 0 end
local left = redis.call('PTTL', key)
redis.call('LTRIM', key, count, -1)
redis.call('LPUSH', key, ARGV[6])
if left > 0 then redis.call('PEXPIRE', key, left) end
return 1
";

/// ARGV: prefix, label.
const FORGET: &str = "
if place then redis.call('DEL', place) end
return 0
";

/// The scripts by the names that the server has given them.
#[derive(Debug)]
pub(super) struct Scripts {
    prefix: String,
    push: String,
    fetch: String,
    shorten: String,
    forget: String,
}

impl Scripts {
    /// What must be loaded, in the order of [`Self::loaded`].
    pub fn texts() -> [String; 4] {
        [PUSH, FETCH, SHORTEN, FORGET].map(|script| format!("{EPOCHS}{script}"))
    }

    /// The server has them under these names.
    pub fn loaded(prefix: &str, [push, fetch, shorten, forget]: [String; 4]) -> Self {
        Self { prefix: format!("{prefix}:1:"), push, fetch, shorten, forget }
    }

    fn table(&self, table: &str) -> String {
        format!("{}t:{}", self.prefix, hash(table))
    }

    fn call(&self, script: &str, place: &Place) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(script).arg(1).arg(self.table(&place.table)).arg(&self.prefix).arg(hash(&place.label));
        call
    }

    /// Events, each behind those of its row.
    pub fn push(
        &self,
        place: &Place,
        events: &[(Box<str>, Vec<u8>)],
        word: &str,
        (ttl, now): (u64, u64),
        most: usize,
    ) -> Cmd {
        let mut call = self.call(&self.push, place);
        call.arg(word).arg(ttl).arg(now).arg(most).arg(LONG);
        for (row, event) in events {
            call.arg(&**row).arg(&**event);
        }
        call
    }

    /// Histories.
    pub fn fetch(&self, ask: &Ask) -> Cmd {
        let mut call = self.call(&self.fetch, &ask.place);
        call.arg(ask.any.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1));
        for row in &ask.rows {
            call.arg(&**row);
        }
        call
    }

    /// One event in the place of a row's first ones, if these are still its first ones.
    pub fn shorten(&self, place: &Place, row: &str, history: &[Vec<u8>], short: &[u8]) -> Cmd {
        let mut call = self.call(&self.shorten, place);
        let first = history.first().map(Vec::as_slice).unwrap_or_default();
        call.arg(row).arg(first).arg(history.len()).arg(short);
        call
    }

    /// The context no longer knows the table's rows.
    pub fn forget(&self, place: &Place) -> Cmd {
        self.call(&self.forget, place)
    }

    /// No context does.
    pub fn forget_table(&self, table: &str) -> Cmd {
        let mut call = redis::cmd("DEL");
        call.arg(self.table(table));
        call
    }

    /// Fails where the server takes no writes, for want of memory, say, or because it is a replica.
    pub fn try_to_write(&self) -> Cmd {
        let mut call = redis::cmd("SET");
        call.arg(format!("{}w", self.prefix)).arg("").arg("PX").arg(1000);
        call
    }
}

/// What has been asked for, as the server answers it.
pub(super) fn answer(ask: &Ask, value: Value) -> Option<Answer> {
    let mut parts = array(value)?.into_iter();
    let Some(named) = parts.next() else {
        // No epoch.
        return Some(Answer { rows: vec![History::new(); ask.rows.len()], ..Answer::default() });
    };
    let rows: Vec<History> = array(named)?.into_iter().map(history).collect::<Option<_>>()?;
    let mut any = Vec::new();
    let mut found = array(parts.next()?)?.into_iter();
    while let (Some(name), Some(events)) = (found.next(), found.next()) {
        let Value::BulkString(name) = name else { return None };
        any.push((String::from_utf8(name).ok()?.into(), history(events)?));
    }
    let Value::Int(more) = parts.next()? else { return None };
    (rows.len() == ask.rows.len()).then(|| Answer {
        rows,
        any,
        more: usize::try_from(more).unwrap_or_default(),
    })
}

/// The rows whose events have become many.
pub(super) fn long_rows(value: Value) -> Vec<Box<str>> {
    let name = |value| match value {
        Value::BulkString(name) => String::from_utf8(name).ok().map(Into::into),
        _ => None,
    };
    array(value).unwrap_or_default().into_iter().filter_map(name).collect()
}

fn history(value: Value) -> Option<History> {
    let event = |value| match value {
        Value::BulkString(event) => Some(event),
        _ => None,
    };
    array(value)?.into_iter().map(event).collect()
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// 32 hexadecimal digits.
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
