-- For wrk: sixteen requests at a time on each connection.
init = function()
   local one = wrk.format()
   sixteen = string.rep(one, 16)
end

request = function()
   return sixteen
end
