#!lua name=lens
-- lens.lua - the hot store's guard: balances of one partition, changed only together with its (epoch, next).
-- Shape:  KEYS[1] ll:{r<run>.p<partition>}:balance, a hash customer_id -> points;
--         KEYS[2] ll:{r<run>.p<partition>}:meta, a hash of epoch, next, token, chunk (the last two: of a rebuild).
--         Numbers stay decimal strings and are compared as strings: Lua's numbers break at 2^53.
-- Errors: FENCED, a higher epoch is stored. GAP, what is stored is not what the caller believes: rebuild.
--         All checks stand before the first write: Redis does not undo a function that fails in its middle.
-- Source: DESIGN 5; accrue's simulation.

local VERSION = '1'

-- Lua unpacks some 8,000 values at most.
local VALUES_MAX = 4000

-- Of decimal numbers without sign and leading zeros, the longer one is higher.
local function is_higher(a, b)
    if #a ~= #b then return #a > #b end
    return a > b
end

local function fenced(stored) return redis.error_reply('FENCED epoch ' .. stored .. ' is stored') end
local function gap(what, stored) return redis.error_reply('GAP ' .. what .. ' ' .. (stored or 'none') .. ' is stored') end

-- args[from..] are customer_id, points, customer_id, points ...
local function set_balances(key, args, from)
    for at = from, #args, VALUES_MAX do
        redis.call('HSET', key, unpack(args, at, math.min(at + VALUES_MAX - 1, #args)))
    end
end

-- epoch, next: stores the epoch unless a higher one is stored; a next at or above ours becomes ours, a lower one or none is
-- left for the caller to rebuild. Answers with the next that was stored, or -1.
local function claim(keys, args)
    local stored = redis.call('HMGET', keys[2], 'epoch', 'next')
    local epoch, next = stored[1], stored[2]
    if epoch and is_higher(epoch, args[1]) then return fenced(epoch) end
    if next and not is_higher(args[2], next) then
        redis.call('HSET', keys[2], 'epoch', args[1], 'next', args[2])
    else
        redis.call('HSET', keys[2], 'epoch', args[1])
    end
    return next or '-1'
end

-- epoch, first, next, then balances.
local function apply(keys, args)
    local stored = redis.call('HMGET', keys[2], 'epoch', 'next')
    local epoch, next = stored[1], stored[2]
    if epoch and is_higher(epoch, args[1]) then return fenced(epoch) end
    if epoch ~= args[1] then return gap('epoch', epoch) end
    if next ~= args[2] then return gap('next', next) end
    set_balances(keys[1], args, 4)
    if args[2] ~= args[3] then redis.call('HSET', keys[2], 'next', args[3]) end
    return redis.status_reply('OK')
end

-- epoch, token: nothing is left but the promise that chunks 0, 1, ... follow.
local function reset(keys, args)
    local epoch = redis.call('HGET', keys[2], 'epoch')
    if epoch and is_higher(epoch, args[1]) then return fenced(epoch) end
    redis.call('HDEL', keys[2], 'next')
    redis.call('HSET', keys[2], 'epoch', args[1], 'token', args[2], 'chunk', '0')
    redis.call('UNLINK', keys[1])
    return redis.status_reply('OK')
end

-- Is it the rebuild of this epoch and token, and is this chunk its turn?
local function out_of_turn(meta, epoch, token, chunk)
    local stored = redis.call('HMGET', meta, 'epoch', 'token', 'chunk')
    if stored[1] and is_higher(stored[1], epoch) then return fenced(stored[1]) end
    if stored[1] ~= epoch then return gap('epoch', stored[1]) end
    if stored[2] ~= token then return gap('token', stored[2]) end
    if stored[3] ~= chunk then return gap('chunk', stored[3]) end
end

-- epoch, token, chunk, the chunk after it, then balances.
local function load(keys, args)
    local refusal = out_of_turn(keys[2], args[1], args[2], args[3])
    if refusal then return refusal end
    set_balances(keys[1], args, 5)
    redis.call('HSET', keys[2], 'chunk', args[4])
    return redis.status_reply('OK')
end

-- epoch, token, number of chunks, next.
local function finish(keys, args)
    local refusal = out_of_turn(keys[2], args[1], args[2], args[3])
    if refusal then return refusal end
    redis.call('HSET', keys[2], 'next', args[4])
    return redis.status_reply('OK')
end

redis.register_function('lens_claim', claim)
redis.register_function('lens_apply', apply)
redis.register_function('lens_reset', reset)
redis.register_function('lens_load', load)
redis.register_function('lens_finish', finish)
redis.register_function{ function_name = 'lens_version', callback = function() return VERSION end, flags = { 'no-writes' } }
