-- wrk's requests to GET /conversations/, the same page each time.
--
--   wrk ... -s list.lua URL -- QUERY

require "report"

local query

function init(args)
  query = args[1]
end

function request()
  return wrk.format("GET", "/conversations/?" .. query)
end
