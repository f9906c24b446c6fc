import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { freePort } from '../../../operator/drivers/local/ports.ts';
import type { Context } from '../context.ts';
import { ready, type StartedProcess, serverCore, start } from '../process.ts';

/** Why there is none; `undefined`: there is one. */
export function missingNginx(): string | undefined {
  const { error, status } = spawnSync('nginx', ['-v'], { stdio: 'ignore' });
  if (!error && status === 0) return undefined;
  return 'nginx is not measured: it is not on the PATH (Debian: the package nginx-light)';
}

let starts = 0;

/**
 * nginx in front of two servers, as people split traffic who have no pods that do it: one worker on the stable server's core,
 * connections kept on both sides, no log of requests.
 *
 * @param weight percent of requests that the candidate gets
 */
export async function startNginx(
  { dir, file }: Context,
  weight: number,
  servers: { readonly stable: string; readonly candidate: string },
): Promise<StartedProcess & { readonly url: string }> {
  const port = await freePort();
  const label = `nginx-${++starts}`;
  const config = file(
    `${label}.conf`,
    `daemon off;
worker_processes 1;
pid ${join(dir, `${label}.pid`)};
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_buffer_size 64k;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${join(dir, name)};`).join(' ')}
  split_clients $request_id $side { ${weight > 0 ? `${weight}% candidate; ` : ''}* stable; }
${Object.entries(servers)
  .map(
    ([name, url]) => `  upstream ${name} { server ${new URL(url).host}; keepalive 64; keepalive_requests 1000000000; }`,
  )
  .join('\n')}
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 1000000000;
    location / {
      proxy_pass http://$side;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`,
  );
  const args = ['-c', config, '-p', dir];
  const started = start({ command: 'nginx', args }, { logPath: join(dir, `${label}.log`), core: serverCore });
  const url = `http://127.0.0.1:${port}`;
  await ready(started, `${url}/v2/health/ready`);
  return { ...started, url };
}
