// node-redis with its defaults (HELLO 3): strings, pipelines, binary and empty values, large values, many connections.
import { createRequire } from 'node:module';
import assert from 'node:assert';
const require = createRequire(process.argv[3] + '/');
const { createClient, RESP_TYPES } = require('redis');
const port = Number(process.argv[2]);

const client = createClient({ socket: { host: '127.0.0.1', port } });
client.on('error', (e) => { console.error(e); process.exit(1); });
await client.connect();
assert.equal(await client.set('nr:a', 'b'), 'OK');
assert.equal(await client.get('nr:a'), 'b');
assert.equal(await client.get('nr:none'), null);
assert.equal(await client.incrBy('nr:n', 41), 41);
assert.equal(await client.set('nr:e', ''), 'OK');
assert.equal(await client.get('nr:e'), '');
assert.equal(await client.set('nr:x', 'y', { EX: 100 }), 'OK');
assert.ok((await client.ttl('nr:x')) > 90);
assert.deepEqual(await client.mGet(['nr:a', 'nr:none', 'nr:n']), ['b', null, '41']);
assert.equal(await client.hSet('nr:h', { f: '1', g: '2' }), 2);
assert.deepEqual({ ...(await client.hGetAll('nr:h')) }, { f: '1', g: '2' });
assert.equal(await client.zAdd('nr:z', [{ score: 1.5, value: 'm' }]), 1);
assert.equal(await client.zScore('nr:z', 'm'), 1.5);
await assert.rejects(client.lPush('nr:a', 'x'), /WRONGTYPE/);
const binary = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
await buffers.set('nr:b', binary);
assert.ok(binary.equals(await buffers.get('nr:b')));
const replies = await Promise.all(Array.from({ length: 10000 }, (_, i) => client.set('nr:p:' + i, 'v' + i)));
assert.ok(replies.every((r) => r === 'OK'));
const values = await Promise.all(Array.from({ length: 10000 }, (_, i) => client.get('nr:p:' + i)));
values.forEach((v, i) => assert.equal(v, 'v' + i));
for (const size of [1, 1 << 10, 1 << 20, 64 << 20]) {
  const big = Buffer.alloc(size, size % 251);
  await buffers.set('nr:big', big);
  assert.ok(big.equals(await buffers.get('nr:big')), 'value of ' + size);
}
await client.del('nr:big');
let scanned = 0;
for await (const keys of client.scanIterator({ MATCH: 'nr:p:*', COUNT: 1000 })) scanned += keys.length;
assert.ok(scanned >= 10000);
await client.quit();
console.log('node-redis ok');
