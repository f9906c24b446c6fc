-- Health of both kinds for Argo CD: `resource.customizations.health.levada.dev_ModelDeployment` and `…_EventPipeline` of
-- argocd-cm. Without it a sync takes a resource for healthy as soon as it is applied.
local health = { status = "Progressing", message = "The operator has not seen it yet." }
local status = obj.status
-- What is said of another generation is not said of this one.
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == (value or "True")
end
local ready = conditions.Ready
if ready ~= nil then
  health.message = ready.reason .. ": " .. ready.message
end
-- Of a rollout: what waits for a person is Suspended, what went back is Degraded until something else is wanted.
local rollout = status.rollout or {}
local phases = {
  Progressing = "Progressing",
  Waiting = "Progressing",
  Promoting = "Progressing",
  AwaitingApproval = "Suspended",
  Paused = "Suspended",
  RolledBack = "Degraded",
  Aborted = "Degraded",
}
local found = phases[rollout.phase]
if is("Accepted", "False") then
  found = nil
end
if is("Stalled") and (found == nil or found == "Progressing") then
  health.status = "Degraded"
elseif found ~= nil then
  health.status = found
  -- What keeps the operator from going on is said of Ready alone.
  local failing = ready ~= nil and ready.status == "False" and ready.reason ~= rollout.phase
  if found ~= "Progressing" or not failing then
    health.message = rollout.phase .. ": " .. (rollout.message or "")
  end
elseif is("Ready") and not is("Reconciling") then
  health.status = "Healthy"
end
return health
