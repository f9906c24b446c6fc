import { define } from './definition.ts';

export const resourceErrors = define({
  FileNotFound: {
    outcome: 'terminal',
    message: '{path}: {detail}',
    remedy: 'Name a YAML file or a folder that holds some.',
  },
  YamlSyntax: {
    outcome: 'terminal',
    message: 'not valid YAML: {detail}',
    remedy: 'Mend the syntax at the line that is named.',
  },
  YamlDuplicateKey: {
    outcome: 'terminal',
    message: 'a key appears twice: {detail}',
    remedy: 'Keep one of them. kubectl would silently take the last.',
  },
  YamlAliasLimit: {
    outcome: 'terminal',
    message: 'too many aliases: {detail}',
    remedy: 'Write the values out. Aliases that multiply are refused because they exhaust memory.',
  },
  DocumentTooLarge: {
    outcome: 'terminal',
    message: 'the file has {size} bytes; at most {limit} are read',
    remedy: 'Split the file. The API server refuses objects above 1.5 MiB as well.',
  },
  NotAResource: {
    outcome: 'terminal',
    message: '{detail}',
    remedy: 'Give every document `apiVersion`, `kind` and `metadata.name`.',
  },
  UnknownKind: {
    outcome: 'terminal',
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Correct `apiVersion` and `kind`. Other kinds belong in files that Levada is not pointed at.',
  },
  UnknownField: {
    outcome: 'terminal',
    message: 'unknown field `{field}`; allowed: {allowed}',
    remedy: 'Correct the spelling, or remove it. No field is accepted and ignored.',
  },
  MissingField: {
    outcome: 'terminal',
    message: 'required, but missing',
    remedy: 'Add the field; docs/reference has its description.',
  },
  InvalidType: {
    outcome: 'terminal',
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Write a value of the allowed type. Quote strings that YAML 1.1 reads as booleans (yes, no, on, off).',
  },
  InvalidValue: {
    outcome: 'terminal',
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Write a value inside the stated bounds.',
  },
  TooManyMembers: {
    outcome: 'terminal',
    message: 'found {found}; allowed: at most one of {allowed}',
    remedy: 'Keep one of the members.',
  },
  DuplicateName: {
    outcome: 'terminal',
    message: 'the name {found} is used twice; allowed: names that differ',
    remedy: 'Rename one of them.',
  },
  NameConflict: {
    outcome: 'terminal',
    message: '{found} would make the Service {service}, which {other} makes already',
    remedy: 'Rename one of the two. Services of one namespace share their names.',
  },
  ServeRequired: {
    outcome: 'terminal',
    message: 'required when there is more than one version; allowed: {allowed}',
    remedy: 'Say which version takes the traffic.',
  },
  ServeUnknown: {
    outcome: 'terminal',
    message: 'found {found}; allowed: a version that is declared ({allowed})',
    remedy: 'Name a declared version, or declare it.',
  },
  VersionImmutable: {
    outcome: 'terminal',
    message: 'version {version} was declared with other content ({field} was {was}, now {found})',
    remedy: 'Give the new content a new version name; Git then holds the way back.',
  },
  PodTemplateProtected: {
    outcome: 'terminal',
    message: 'Levada needs its own here: found {found}; allowed: {allowed}',
    remedy: 'Leave the field out; docs/guides/operator.md says what a podTemplate cannot change.',
  },
  NotOneMember: {
    outcome: 'terminal',
    message: 'found {found}; allowed: exactly one of {allowed}',
    remedy: 'Keep one of the members.',
  },
  ExpressionInvalid: {
    outcome: 'terminal',
    message: 'not an expression: {detail}',
    remedy: 'Mend it at the place that is named; docs/guides/expressions.md has the language.',
  },
  SchemaInvalid: {
    outcome: 'terminal',
    message: 'not a JSON Schema that can be used: {detail}',
    remedy: 'Write JSON Schema 2020-12, without references to other documents.',
  },
  AssignBreaksSchema: {
    outcome: 'terminal',
    message: 'no event could meet the schema of {type}: {detail}',
    remedy: 'Correct the value that is assigned, or the schema.',
  },
  EventNotEmitted: {
    outcome: 'terminal',
    message: 'nothing emits {found}; emitted are: {allowed}',
    remedy: 'Correct the name, or add the source or step that emits it.',
  },
  EventCycle: {
    outcome: 'terminal',
    message: 'events go round in a circle: {detail}',
    remedy: 'Break the circle: an event would be handled for ever.',
  },
  ModelNotFound: {
    outcome: 'wait',
    message: 'there is no ModelDeployment {found} in this namespace; there are: {allowed}',
    remedy: 'Correct the name, or apply the ModelDeployment.',
  },
  PipelineNotFound: {
    outcome: 'wait',
    message: 'there is no other EventPipeline {found} in this namespace; there are: {allowed}',
    remedy: 'Correct the name, or apply the EventPipeline.',
  },
  BrokersDiffer: {
    outcome: 'terminal',
    message: 'the pipeline {pipeline} is on {found}; allowed: {allowed}, which carries this one',
    remedy: 'Give both the same `spec.broker`, or carry the events over with a `publish` step and a `queue` source.',
  },
  StoreRequired: {
    outcome: 'terminal',
    message: 'the step {found} is to remember what it has handled, and pods have no store that they share yet',
    remedy:
      'Remove `idempotency` from the step on a cluster. Its handler gets an `Idempotency-Key` with each event and may drop what it knows.',
  },
});
