import { apiVersion } from '../contract/names.ts';
import type { Kind } from './crd.ts';
import { mapChildren, type Schema, schemaOf } from './schema.ts';

/** The JSON Schema that editors check files with: draft-07, which is what yaml-language-server reads. */
export function editorSchemaOf({ schema, crd }: Kind): object {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: `${crd.kind} (${apiVersion})`,
    ...withoutKubernetes(schemaOf(schema, 'draft-7')),
  };
}

/** Editors underline keywords that they do not know: those of Kubernetes, and OpenAPI's `nullable`. */
function withoutKubernetes(schema: Schema): Schema {
  const plain = Object.entries(schema).filter(
    ([keyword]) => !keyword.startsWith('x-kubernetes-') && keyword !== 'nullable',
  );
  return mapChildren(Object.fromEntries(plain), withoutKubernetes);
}
