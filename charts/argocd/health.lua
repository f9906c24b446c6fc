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
local function is(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end
local ready = conditions.Ready
if ready ~= nil then
  health.message = ready.reason .. ": " .. ready.message
end
if is("Stalled") then
  health.status = "Degraded"
elseif is("Ready") and not is("Reconciling") then
  health.status = "Healthy"
end
return health
