-- Actions of a ModelDeployment for Argo CD: `resource.customizations.actions.levada.dev_ModelDeployment` of argocd-cm. Those that
-- the operator would refuse, as its phase is, are disabled.
local rollout = obj.status and obj.status.rollout or {}
local phase = rollout.id and rollout.phase or "Stable"
local allowed = {
  Progressing = { "promote", "abort", "pause" },
  Waiting = { "promote", "abort", "pause" },
  AwaitingApproval = { "promote", "abort", "pause", "resume" },
  Paused = { "promote", "abort", "resume" },
  Promoting = { "promote", "abort", "pause" },
  Holding = { "abort" },
  RolledBack = { "resume" },
  Aborted = { "resume" },
}
local actions = {}
for _, name in ipairs({ "promote", "abort", "pause", "resume" }) do
  actions[name] = { disabled = true }
end
for _, name in ipairs(allowed[phase] or {}) do
  actions[name] = { disabled = name == "promote" and rollout.promoted == true }
end
return actions
