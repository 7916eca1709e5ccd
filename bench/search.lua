-- search.lua — wrk posts real query vectors, one after the other.
--   wrk -s search.lua URL -- PATH BODIES     BODIES: one JSON body a line
-- Requests are rendered before the clock runs. The summary goes to stderr as one line of JSON.
local requests, at = {}, 0

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for body in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format("POST", args[1], nil, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"calls":%d,"seconds":%.3f,"per_second":%.1f,"errors":%d,"ms_p50":%.4f,"ms_p99":%.4f,"ms_max":%.4f}\n',
    summary.requests, summary.duration / 1e6, summary.requests / (summary.duration / 1e6),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
