/** Characters of a path: percent-encoded ones only where they can be decoded, and none that makes another path of it. */
const path = String.raw`\/([^?#%]|%(0[1-9A-Fa-f]|2[0-9A-Ea-e]|[13-7][0-9A-Fa-f]))+`;
const name = '[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*';
const mounted = String.raw`(file:\/\/|pvc:\/\/${name})${path}|configmap:\/\/${name}\/[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,252}`;
/** No user and password, which belong to a Secret, and no query, which may hold a key. */
const http = String.raw`https?:\/\/([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\/[!"$->@-~]+`;
const s3 = String.raw`s3:\/\/[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]${path}`;

/** `file:///PATH` inside the pod, `pvc://CLAIM/PATH` in a PersistentVolumeClaim, or `configmap://NAME/KEY`. */
export const mountedUriPattern = new RegExp(`^(${mounted})$`);
/** One of those, or what is fetched: `https://HOST/PATH`, `http://HOST/PATH` or `s3://BUCKET/KEY`. */
export const modelUriPattern = new RegExp(`^(${mounted}|${http}|${s3})$`);

/** Whether a file is fetched before a model server starts; all others are mounted. */
export const isFetched = (uri: string): boolean => /^(https?|s3):\/\//.test(uri);

/** Where a fetched file is in a pod. */
export const fetchedFolder = '/mnt/fetched';
export const fetchedFile = `${fetchedFolder}/model.onnx`;

/** Volumes that a pod mounts, read-only, by what they are of. */
export type Mounted = { readonly claim: string } | { readonly configMap: string };

export const mountPathOf = (of: Mounted): string =>
  'claim' in of ? `/mnt/claims/${of.claim}` : `/mnt/configmaps/${of.configMap}`;

/** Path inside the pod, with percent-encoding undone and `..` resolved, and what has to be mounted for it. */
export function placeOf(uri: string): { readonly path: string; readonly mounted?: Mounted } {
  if (isFetched(uri)) return { path: fetchedFile };
  const { protocol, host, pathname } = new URL(uri);
  const decoded = decodeURIComponent(pathname);
  if (protocol === 'file:') return { path: decoded };
  const of = protocol === 'pvc:' ? { claim: host } : { configMap: host };
  return { path: mountPathOf(of) + decoded, mounted: of };
}
