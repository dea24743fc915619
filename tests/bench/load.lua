-- SPDX-License-Identifier: MPL-2.0
-- What wrk sends: METHOD PATH [BODY [PRODUCTS]].
--
-- Without PRODUCTS every request is the same and wrk builds it once. With PRODUCTS the word %s in BODY becomes p0 .. pN-1,
-- picked at random; the requests are built before the clock starts, so that choosing one costs an array look-up.
-- The answers are counted by wrk itself: errors.status holds those with a status over 399. The last line is JSON for bench.py.

local prepared = {}

function init(args)
    wrk.method, wrk.path = args[1], args[2]
    local body, products = args[3], tonumber(args[4])
    if wrk.method == "POST" then
        wrk.body = body or ""
        if wrk.body ~= "" then
            wrk.headers["Content-Type"] = "application/json"
        end
    end
    if products then
        math.randomseed(os.time())
        for i = 1, products do
            prepared[i] = wrk.format(nil, nil, nil, (body:gsub("%%s", "p" .. (i - 1))))
        end
        request = function() return prepared[math.random(products)] end
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        e.status, e.connect + e.read + e.write + e.timeout))
end
