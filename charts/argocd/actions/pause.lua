-- Stay at this weight. The same as `levada rollout NAME pause`.
local rollout = obj.status and obj.status.rollout
if rollout == nil or rollout.id == nil then
  error("no rollout is under way")
end
obj.metadata.annotations = obj.metadata.annotations or {}
-- The id is the one that is shown now: where things have moved meanwhile, the operator refuses.
obj.metadata.annotations["levada.dev/rollout-command"] = "pause/" .. rollout.id
return obj
