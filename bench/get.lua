-- wrk's requests to GET /conversations/{id}/, each time one picked at random.
--
--   wrk ... -s get.lua URL -- SEED FIRST COUNT
--
-- The conversations have the numbers from FIRST on; stored.lua says how an id follows from one.

require "report"
require "stored"

local first, count

function init(args)
  math.randomseed(tonumber(args[1]))
  first, count = tonumber(args[2]), tonumber(args[3])
end

function request()
  return wrk.format("GET", "/conversations/" .. conversation_id(first + math.random(0, count - 1)) .. "/")
end
