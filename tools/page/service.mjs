// Starts login-pipeline, and hears what it says.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export const freePort = () => new Promise((resolve, reject) => {
  const server = createServer();
  server.on('error', reject);
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

export const start = (binary, args) => {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH } });
  running.add(child);
  const heard = [];
  const waiting = new Set();
  const gone = new Promise((resolve) => {
    child.on('close', (code) => {
      running.delete(child);
      waiting.forEach(({ fail }) => fail(new Error(`${binary} ${args[0]} ended with ${code}: ${heard.slice(-20).join('\n')}`)));
      resolve();
    });
    child.on('error', (error) => heard.push(String(error)));
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      heard.push(line);
      if (heard.length > 500) heard.shift();
      waiting.forEach((one) => one.look(line));
    });
  }
  return {
    // The first line that matches, said already or not yet.
    line: (wanted) => new Promise((resolve, reject) => {
      const found = heard.map((line) => wanted.exec(line)).find(Boolean);
      if (found) return resolve(found);
      const one = {
        look: (line) => {
          const matched = wanted.exec(line);
          if (!matched) return;
          waiting.delete(one);
          resolve(matched);
        },
        fail: reject,
      };
      waiting.add(one);
      return undefined;
    }),
    kill: () => {
      child.kill('SIGKILL');
      return gone;
    },
  };
};
