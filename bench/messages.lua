-- wrk's requests to POST /webhook/: messages into conversations that are there already, each time one picked at random.
--
--   wrk ... -s messages.lua URL -- SEED FIRST COUNT
--
-- The conversations have the numbers from FIRST on; stored.lua says how an id follows from one.

require "report"
require "stored"

local CONTENT = "Olá, quero alugar um apartamento de dois quartos."
local HEADERS = { ["Content-Type"] = "application/json" }

local random, format = math.random, string.format

local first, count, message_format

function init(args)
  math.randomseed(tonumber(args[1]))
  first, count = tonumber(args[2]), tonumber(args[3])
  message_format = '{"type":"NEW_MESSAGE","timestamp":"' .. os.date("!%Y-%m-%dT%H:%M:%SZ")
    .. '","data":{"id":"%08x-%04x-4%03x-8%03x-%06x%06x","content":"' .. CONTENT
    .. '","conversation_id":"%s"}}'
end

function request()
  return wrk.format("POST", nil, HEADERS, format(
    message_format,
    random(0, 0xffffffff), random(0, 0xffff), random(0, 0xfff), random(0, 0xfff), random(0, 0xffffff), random(0, 0xffffff),
    conversation_id(first + random(0, count - 1))
  ))
end
