-- The ids of conversations that are stored from the start, by their numbers: as in stored.py.

local SCATTER = 2654435761

function conversation_id(number)
  return string.format("%08x-0000-4000-8000-%012x", number * SCATTER % 4294967296, number)
end
