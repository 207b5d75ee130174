-- wrk: each line of FILE once, as the body of a POST to PATH or as the path of a GET; then says so and sends no more.
-- "answered N" on standard error is the signal for which the harness waits.
local ffi = require("ffi")
ffi.cdef([[ typedef struct { long s; long us; } moment_t; int gettimeofday(moment_t *, void *); ]])
local clock = ffi.new("moment_t")

local function now()
    ffi.C.gettimeofday(clock, nil)
    return tonumber(clock.s) + tonumber(clock.us) / 1e6
end

local FOREVER = 1000000000

function setup(thread)
    made = thread
end

function init(args)
    method, path, total = args[1], args[2], tonumber(args[4])
    lines = io.lines(args[3])
    reserved, answered, good = 0, 0, 0
    content = args[5] or "application/json"
    head = "Host: " .. wrk.host .. "\r\n"
    started, finished = 0, 0
end

local function render(line)
    if method == "GET" then
        return "GET " .. line .. " HTTP/1.1\r\n" .. head .. "\r\n"
    end
    return "POST " .. path .. " HTTP/1.1\r\n" .. head .. "Content-Type: " .. content .. "\r\nContent-Length: " .. #line
        .. "\r\n\r\n" .. line
end

-- Asked before every request but the one that wrk makes to look at it.
function delay()
    reserved = reserved + 1
    if reserved == 1 then
        started = now()
    end
    return reserved > total and FOREVER or 0
end

function request()
    if not looked then
        looked = true
        return "GET / HTTP/1.1\r\n" .. head .. "\r\n"
    end
    return render(lines())
end

function response(status)
    answered = answered + 1
    if status == 200 or status == 201 then
        good = good + 1
    end
    if answered == total then
        finished = now()
        io.stderr:write("answered " .. answered .. "\n")
        io.stderr:flush()
    end
end

function done(_, latency)
    io.stdout:write(string.format(
        '\n{"sent": %d, "good": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f}\n',
        made:get("answered"), made:get("good"), made:get("finished") - made:get("started"),
        latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
