/** What runs on the node, with its settings. Ports are fixed: the node has a network of its own. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kubeconfigOf, user } from './credentials.ts';
import { coredns } from './programs.ts';

export const nodeName = 'levada';
/** Of the pause container; nothing is pulled. */
export const pauseImage = 'localhost/pause:1';
const serviceRange = '10.96.0.0/16';
const podRange = '10.244.0.0/24';
/** kubelet's parent of all pods, in each hierarchy. */
export const cgroup = 'levada-node';
export const containerdSocket = '/run/containerd/containerd.sock';

/** Of `ss` on the node: ends the API server's side of what a pod has opened, and prints a line for each. */
export const cutArgs = (address: string): string[] => ['-K', '-H', '-t', 'dst', address, 'sport', '=', ':6443'];

export interface Component {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
}

export interface Place {
  /** Holds the state of the node. */
  readonly folder: string;
  /** Holds the programs of Kubernetes. */
  readonly programs: string;
  /** Of the node, as this machine and its pods see it. */
  readonly address: string;
}

export const users = () => ({
  admin: user('admin', ['system:masters']),
  controllers: user('system:kube-controller-manager', []),
  scheduler: user('system:kube-scheduler', []),
  kubelet: user(`system:node:${nodeName}`, ['system:nodes']),
  proxy: user('system:kube-proxy', []),
  dns: user('coredns', []),
});
export type Users = ReturnType<typeof users>;

export const kubeconfigFile = ({ folder }: Place, name: keyof Users) => join(folder, `${name}.kubeconfig`);

/** etcd, containerd and the API server, which need nobody. */
export async function firstComponents(place: Place): Promise<Component[]> {
  const at = (...names: string[]) => join(place.folder, ...names);
  await mkdir(at('cni'), { recursive: true });
  await writeFile(at('cni/10-levada.conflist'), JSON.stringify(network));
  await writeFile(at('containerd.toml'), containerdConfig(place));
  return [
    {
      name: 'etcd',
      program: 'etcd',
      args: [`--data-dir=${at('etcd')}`, '--unsafe-no-fsync'],
    },
    { name: 'containerd', program: 'containerd', args: ['--config', at('containerd.toml')] },
    {
      name: 'kube-apiserver',
      program: join(place.programs, 'kube-apiserver'),
      args: [
        '--etcd-servers=http://127.0.0.1:2379',
        `--advertise-address=${place.address}`,
        `--cert-dir=${at('pki')}`,
        `--token-auth-file=${at('tokens.csv')}`,
        '--authorization-mode=Node,RBAC',
        '--enable-admission-plugins=NodeRestriction',
        `--service-cluster-ip-range=${serviceRange}`,
        '--service-account-issuer=https://kubernetes.default.svc',
        `--service-account-key-file=${at('accounts.pub')}`,
        `--service-account-signing-key-file=${at('accounts.key')}`,
        '--kubelet-preferred-address-types=InternalIP', // nobody resolves the node's name
        '--shutdown-delay-duration=0s',
      ],
    },
  ];
}

/** A kubeconfig for each user. @param ca PEM of the certificate that signs the API server's */
export async function writeKubeconfigs(place: Place, all: Users, ca: string): Promise<void> {
  const server = `https://${place.address}:6443`;
  for (const [name, one] of Object.entries(all)) {
    const file = kubeconfigFile(place, name as keyof Users);
    await writeFile(file, JSON.stringify(kubeconfigOf({ ca, server }, one)), { mode: 0o600 });
  }
}

/** What works for the API server, once it is ready. */
export async function otherComponents(place: Place): Promise<Component[]> {
  const at = (name: string) => join(place.folder, name);
  await writeFile(at('kubelet.json'), JSON.stringify(kubeletConfig(place)));
  await writeFile(at('kube-proxy.json'), JSON.stringify(proxyConfig(place)));
  await writeFile(at('Corefile'), corefile(place));
  const its = (name: string) => join(place.programs, name);
  return [
    {
      name: 'kube-controller-manager',
      program: its('kube-controller-manager'),
      args: [
        `--kubeconfig=${kubeconfigFile(place, 'controllers')}`,
        '--use-service-account-credentials',
        `--service-account-private-key-file=${at('accounts.key')}`,
        `--root-ca-file=${at('pki/apiserver.crt')}`,
        '--leader-elect=false',
      ],
    },
    {
      name: 'kube-scheduler',
      program: its('kube-scheduler'),
      args: [`--kubeconfig=${kubeconfigFile(place, 'scheduler')}`, '--leader-elect=false'],
    },
    {
      name: 'kubelet',
      program: its('kubelet'),
      args: [
        `--config=${at('kubelet.json')}`,
        `--kubeconfig=${kubeconfigFile(place, 'kubelet')}`,
        `--hostname-override=${nodeName}`,
        `--node-ip=${place.address}`,
        `--cert-dir=${at('kubelet-pki')}`,
      ],
    },
    { name: 'kube-proxy', program: its('kube-proxy'), args: [`--config=${at('kube-proxy.json')}`] },
    { name: 'coredns', program: coredns, args: ['-conf', at('Corefile')] },
  ];
}

const network = {
  cniVersion: '1.0.0',
  name: 'levada',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: podRange }]],
        routes: [{ dst: '0.0.0.0/0' }],
        dataDir: '/run/cni',
      },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};

const containerdConfig = ({ folder }: Place): string => `version = 2
root = "${join(folder, 'containerd')}"
state = "/run/containerd"
[grpc]
  address = "${containerdSocket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  # Root that lacks CAP_SYS_RESOURCE cannot lower it, and pods would die in \`runc create\`.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${join(folder, 'cni')}"
`;

const kubeletConfig = ({ address }: Place): object => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  // Only this machine and its pods reach it.
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  cgroupDriver: 'cgroupfs',
  cgroupRoot: `/${cgroup}`,
  failCgroupV1: false,
  failSwapOn: false,
  clusterDomain: 'cluster.local',
  clusterDNS: [address],
  containerRuntimeEndpoint: `unix://${containerdSocket}`,
  resolvConf: '', // the node knows no names but the cluster's
  // A disk that is nearly full is this machine's own affair.
  evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
});

const proxyConfig = (place: Place): object => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  mode: 'iptables',
  hostnameOverride: nodeName,
  clientConnection: { kubeconfig: kubeconfigFile(place, 'proxy') },
  conntrack: { maxPerCore: 0 }, // the machine's own limit stays
});

const corefile = (place: Place): string => `.:53 {
  bind ${place.address}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfigFile(place, 'dns')}
    pods insecure
    ttl 5
  }
  cache 5
}
`;

/** What CoreDNS may read. */
export const dnsRights = [
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'coredns' },
    rules: [
      { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    ],
  },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'coredns' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'coredns' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'coredns' }],
  },
];
