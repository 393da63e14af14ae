-- wrk's requests to POST /webhook/: conversations that are opened, get ten messages each, and make room for new ones.
--
--   wrk ... -s webhook.lua URL -- SEED CONNECTIONS_PER_THREAD
--
-- wrk does not tell a script which connection it asks a request for, so no conversation belongs to a connection. Instead
-- each thread keeps twice as many conversations in play as it has connections, and serves them in turn. Before a
-- conversation's next turn every connection has had two requests to send, on average: so the answer to its last event
-- is there, as it would be with one sender a conversation, and few messages overtake the opening of theirs. Those that
-- do are held and counted: the table shows them.

require "report"

local MESSAGES = 10
local CONTENT = "Olá, quero alugar um apartamento de dois quartos."
local HEADERS = { ["Content-Type"] = "application/json" }

local threads = 0
function setup(thread)
  thread:set("thread_number", threads)
  threads = threads + 1
end

local random, format = math.random, string.format

-- Random like the senders' own: ids in order would be kind to the database's indexes.
local function uuid()
  return format(
    "%08x-%04x-4%03x-8%03x-%06x%06x",
    random(0, 0xffffffff), random(0, 0xffff), random(0, 0xfff), random(0, 0xfff), random(0, 0xffffff), random(0, 0xffffff)
  )
end

local in_play, turn = 0, 0
local conversations, messages_left = {}, {}
local open_format, message_format

function init(args)
  math.randomseed(tonumber(args[1]) + thread_number)
  in_play = 2 * tonumber(args[2])
  local timestamp = os.date("!%Y-%m-%dT%H:%M:%SZ")
  open_format = '{"type":"NEW_CONVERSATION","timestamp":"' .. timestamp .. '","data":{"id":"%s"}}'
  message_format = '{"type":"NEW_MESSAGE","timestamp":"' .. timestamp
    .. '","data":{"id":"%s","content":"' .. CONTENT .. '","conversation_id":"%s"}}'
end

local function open(messages)
  conversations[turn], messages_left[turn] = uuid(), messages
  return wrk.format("POST", nil, HEADERS, format(open_format, conversations[turn]))
end

function request()
  turn = turn % in_play + 1
  local left = messages_left[turn]
  if left == nil then
    -- The first conversations get fewer messages, so that later openings are spread in time. The very first gets none:
    -- wrk asks for one request before the start and throws it away.
    return open((turn - 1) % (MESSAGES + 1))
  elseif left == 0 then
    return open(MESSAGES)
  end
  messages_left[turn] = left - 1
  return wrk.format("POST", nil, HEADERS, format(message_format, uuid(), conversations[turn]))
end
