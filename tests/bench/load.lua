-- SPDX-License-Identifier: MPL-2.0
-- What wrk sends: METHOD PATH BODY PRODUCTS STATUS; an empty BODY is none, PRODUCTS 0 and STATUS 0 mean "without".
--
-- Without PRODUCTS every request is the same and wrk builds it once. With PRODUCTS the word %s in BODY becomes p0 .. pN-1,
-- picked at random; the requests are built before the clock starts, so that choosing one costs an array look-up.
-- The answers are counted by wrk itself: errors.status holds those with a status over 399. With STATUS each answer is looked at
-- as well, and those with another status are counted as wrong: that costs time, so only the warm-up does it. The last line is
-- JSON for bench.py.

local prepared, threads = {}, {}
wrong = 0

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    wrk.method, wrk.path = args[1], args[2]
    local body, products, expected = args[3], tonumber(args[4]), tonumber(args[5])
    if wrk.method == "POST" then
        wrk.body = body
        if wrk.body ~= "" then
            wrk.headers["Content-Type"] = "application/json"
        end
    end
    if products > 0 then
        math.randomseed(os.time())
        for i = 1, products do
            prepared[i] = wrk.format(nil, nil, nil, (body:gsub("%%s", "p" .. (i - 1))))
        end
        request = function() return prepared[math.random(products)] end
    end
    if expected > 0 then
        response = function(status)
            if status ~= expected then
                wrong = wrong + 1
            end
        end
    end
end

function done(summary, latency, requests)
    local e, different = summary.errors, 0
    for _, thread in ipairs(threads) do
        different = different + thread:get("wrong")
    end
    io.write(string.format(
        '\n{"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d,"wrong":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        e.status, e.connect + e.read + e.write + e.timeout, different))
end
