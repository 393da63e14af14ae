-- wrk's requests to POST /webhook/: conversations that are opened, get ten messages each, and make room for new ones.
--
--   wrk ... -s webhook.lua URL -- SEED CONNECTIONS_PER_THREAD [keyed | signed SECRET]
--
-- `keyed` gives each request an Idempotency-Key of its own, `signed` an X-Hub-Signature-256.
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
local keyed, secret = false, nil

function init(args)
  math.randomseed(tonumber(args[1]) + thread_number)
  in_play = 2 * tonumber(args[2])
  keyed = args[3] == "keyed"
  secret = args[3] == "signed" and args[4] or nil
  local timestamp = os.date("!%Y-%m-%dT%H:%M:%SZ")
  open_format = '{"type":"NEW_CONVERSATION","timestamp":"' .. timestamp .. '","data":{"id":"%s"}}'
  message_format = '{"type":"NEW_MESSAGE","timestamp":"' .. timestamp
    .. '","data":{"id":"%s","content":"' .. CONTENT .. '","conversation_id":"%s"}}'
end

-- OpenSSL's own HMAC: in Lua it would take longer than all the rest.
local ffi = require "ffi"
ffi.cdef [[
  const void *EVP_sha256(void);
  unsigned char *HMAC(const void *hash, const void *key, int key_bytes, const char *data, size_t data_bytes,
                      unsigned char *digest, unsigned int *digest_bytes);
]]

local function signature(secret, body)
  local crypto = ffi.load("libcrypto.so.3")
  local digest = ffi.new("unsigned char[32]")
  crypto.HMAC(crypto.EVP_sha256(), secret, #secret, body, #body, digest, nil)
  return "sha256=" .. ffi.string(digest, 32):gsub(".", function(byte) return format("%02x", byte:byte()) end)
end

local function post(body)
  if secret then
    HEADERS["X-Hub-Signature-256"] = signature(secret, body)
  elseif keyed then
    HEADERS["Idempotency-Key"] = uuid()
  end
  return wrk.format("POST", nil, HEADERS, body)
end

local function open(messages)
  conversations[turn], messages_left[turn] = uuid(), messages
  return post(format(open_format, conversations[turn]))
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
  return post(format(message_format, uuid(), conversations[turn]))
end
